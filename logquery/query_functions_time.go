package logquery

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

func init() {
	for name, f := range map[string]*function{
		"frommillis": number1Time(func(n float64) value { return timeValue(n) }),
		"tomillis": {1, 1, false, func(_ *row, a []value) value {
			n, ok := a[0].number()
			if !ok {
				return value{}
			}
			return numberValue(n)
		}},
		"now":            {0, 0, false, func(r *row, _ []value) value { return numberValue(float64(r.run.options.Now.Unix())) }},
		"querystarttime": {0, 0, false, func(r *row, _ []value) value { return numberValue(float64(r.run.options.Start.UnixMilli())) }},
		"queryendtime":   {0, 0, false, func(r *row, _ []value) value { return numberValue(float64(r.run.options.End.UnixMilli())) }},
		"querytimerange": {0, 0, false, func(r *row, _ []value) value {
			return numberValue(float64(r.run.options.End.Sub(r.run.options.Start).Milliseconds()))
		}},

		"isvalidip":      ip1(func(netip.Addr) bool { return true }),
		"isvalidipv4":    ip1(netip.Addr.Is4),
		"isvalidipv6":    ip1(netip.Addr.Is6),
		"isprivateip":    ip1(func(ip netip.Addr) bool { return ip.Is4() && ip.IsPrivate() }),
		"ispublicip":     ip1(func(ip netip.Addr) bool { return !isReserved(ip) }),
		"isreservedip":   ip1(isReserved),
		"isipinsubnet":   subnet(func(netip.Addr) bool { return true }),
		"isipv4insubnet": subnet(netip.Addr.Is4),
		"isipv6insubnet": subnet(netip.Addr.Is6),
		"ipv4tonumber": text1(func(s string) value {
			ip, err := netip.ParseAddr(s)
			if err != nil || !ip.Is4() {
				return value{}
			}
			b := ip.As4()
			return numberValue(float64(uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])))
		}),
	} {
		functions[name] = f
	}
}

func number1Time(f func(float64) value) *function {
	return &function{1, 1, false, func(_ *row, a []value) value {
		n, ok := a[0].number()
		if !ok || n < minTime || n > maxTime {
			return value{}
		}
		return f(n)
	}}
}

// minTime and maxTime are the years 1 and 9999 in milliseconds since 1970: times
// outside have no date that a row could show.
const minTime, maxTime = -62135596800000, 253402300799999

func ip1(f func(netip.Addr) bool) *function {
	return text1(func(s string) value {
		ip, err := netip.ParseAddr(s)
		return boolValue(err == nil && ip.Zone() == "" && f(ip))
	})
}

func subnet(f func(netip.Addr) bool) *function {
	return &function{2, 2, false, func(_ *row, a []value) value {
		ip, err := netip.ParseAddr(a[0].String())
		if err != nil || !f(ip) {
			return boolValue(false)
		}
		prefix, err := netip.ParsePrefix(a[1].String())
		return boolValue(err == nil && prefix.Contains(ip))
	}}
}

// reserved are the ranges that no public address is in (RFC 6890).
var reserved = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
	"::/128", "::1/128", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "fc00::/7", "fe80::/10", "ff00::/8")

func prefixes(all ...string) (list []netip.Prefix) {
	for _, s := range all {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func isReserved(ip netip.Addr) bool {
	for _, p := range reserved {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// period is a length of time by the calendar, such as 5m or 1mo.
type period struct {
	n    int64
	unit time.Duration // 0 for those that are not always equally long
	name string        // then week, month, quarter or year
}

// units are the spellings in "Datetime functions", with the most that may be asked
// of each: more is taken for that, as Insights does.
var units = []struct {
	spellings string
	unit      time.Duration
	name      string
	most      int64
}{
	{"ms msec millisecond", time.Millisecond, "", 1000},
	{"s sec second", time.Second, "", 60},
	{"m min minute", time.Minute, "", 60},
	{"h hr hour", time.Hour, "", 24},
	{"d day", 24 * time.Hour, "", 366},
	{"w week", 0, "week", 53},
	{"mo mon month", 0, "month", 12},
	{"q qtr quarter", 0, "quarter", 4},
	{"y yr year", 0, "year", 100},
}

func parsePeriod(s string) (period, error) {
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 1 {
		return period{}, fmt.Errorf("a period is a whole number and a unit, such as 5m or 1h")
	}
	unit := strings.ToLower(s[len(digits):])
	for _, u := range units {
		for _, spelling := range strings.Fields(u.spellings) {
			// "For all units and abbreviations that include more than one character,
			// adding s to pluralize is supported."
			if unit == spelling || len(spelling) > 1 && unit == spelling+"s" {
				return period{min(n, u.most), u.unit, u.name}, nil
			}
		}
	}
	return period{}, fmt.Errorf("there is no unit %q: it is ms, s, m, h, d, w, mo, q or y", unit)
}

// floor is the last start of a period at or before t, in UTC.
func (p period) floor(t time.Time) time.Time {
	if p.unit > 0 {
		ms, length := t.UnixMilli(), p.n*p.unit.Milliseconds()
		return time.UnixMilli(ms - (ms%length+length)%length).UTC()
	}
	years, months := t.Year(), int(t.Month())-1
	switch p.name {
	case "week":
		// The week of 1970-01-05 is the first; weeks begin on Monday.
		const week, first = 7 * 24 * time.Hour, 4 * 24 * time.Hour
		ms, length := t.UnixMilli()-first.Milliseconds(), p.n*week.Milliseconds()
		return time.UnixMilli(ms - (ms%length+length)%length + first.Milliseconds()).UTC()
	case "month":
		months -= months % int(p.n)
	case "quarter":
		months -= months % (3 * int(p.n))
	default:
		years, months = years-years%int(p.n), 0
	}
	return time.Date(years, time.Month(months+1), 1, 0, 0, 0, 0, time.UTC)
}

// next is the start of the period after the one that starts at t.
func (p period) next(t time.Time) time.Time {
	switch n := int(p.n); {
	case p.unit > 0:
		return t.Add(time.Duration(p.n) * p.unit)
	case p.name == "week":
		return t.AddDate(0, 0, 7*n)
	case p.name == "month":
		return t.AddDate(0, n, 0)
	case p.name == "quarter":
		return t.AddDate(0, 3*n, 0)
	default:
		return t.AddDate(n, 0, 0)
	}
}

// floorOp is bin, datefloor and dateceil.
type floorOp struct {
	a      expression
	period period
	up     bool
}

func (e floorOp) eval(r *row) value {
	n, ok := e.a.eval(r).number()
	if !ok || n < minTime || n > maxTime {
		return value{}
	}
	t := time.UnixMilli(int64(n)).UTC()
	start := e.period.floor(t)
	if e.up && start.Before(t) {
		start = e.period.next(start)
	}
	return timeValue(float64(start.UnixMilli()))
}
