package network

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"strings"
)

// A HostEntry is a further line of a container's hosts file.
type HostEntry struct{ Hostname, IPAddress string }

// Hostname renders /etc/hostname.
func Hostname(name string) []byte { return []byte(name + "\n") }

// Hosts renders /etc/hosts. ip is the container's address; the zero Addr stands for none, and the name then means loopback.
func Hosts(hostname string, ip netip.Addr, extra []HostEntry) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, e := range extra {
		fmt.Fprintf(&b, "%s\t%s\n", e.IPAddress, e.Hostname)
	}
	if hostname != "" {
		own := "127.0.1.1"
		if ip.IsValid() {
			own = ip.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", own, hostname)
	}
	return b.Bytes()
}

// DNS is what a container definition says about resolving names. What is empty comes from the host.
type DNS struct{ Servers, Search, Options []string }

// Public resolvers, for a host whose own can be reached only on its loopback.
var fallbackServers = []string{"8.8.8.8", "8.8.4.4"}

// ResolvConf renders /etc/resolv.conf for a container with a namespace of its own, from the host's. Resolvers on the
// host's loopback cannot be reached from there, nor can IPv6 ones; if none remain there are public ones instead.
func ResolvConf(host []byte, want DNS) []byte {
	from := parseResolvConf(host)
	if len(want.Servers) == 0 {
		for _, a := range nameservers(host) {
			if a.Is4() && !a.IsLoopback() {
				want.Servers = append(want.Servers, a.String())
			}
		}
		if len(want.Servers) == 0 {
			want.Servers = fallbackServers
		}
	}
	if len(want.Search) == 0 {
		want.Search = from.Search
	}
	if len(want.Options) == 0 {
		want.Options = from.Options
	}
	var b bytes.Buffer
	for _, s := range want.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(want.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(want.Search, " "))
	}
	if len(want.Options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(want.Options, " "))
	}
	return b.Bytes()
}

// HostResolvConf reads the host's resolv.conf: not the one that leads to systemd-resolved on the loopback, but the one that
// systemd-resolved itself goes by.
func HostResolvConf() ([]byte, error) {
	const stub, real = "/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"
	conf, err := os.ReadFile(stub)
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's resolvers: %w", err)
	}
	if n := nameservers(conf); len(n) == 1 && n[0] == netip.AddrFrom4([4]byte{127, 0, 0, 53}) {
		if behind, err := os.ReadFile(real); err == nil {
			return behind, nil
		}
	}
	return conf, nil
}

func nameservers(conf []byte) []netip.Addr {
	var all []netip.Addr
	for _, s := range parseResolvConf(conf).Servers {
		if a, err := netip.ParseAddr(s); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

func parseResolvConf(conf []byte) DNS {
	var d DNS
	for lines := bufio.NewScanner(bytes.NewReader(conf)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			d.Servers = append(d.Servers, f[1])
		case "domain", "search": // the last one wins
			d.Search = f[1:]
		case "options":
			d.Options = append(d.Options, f[1:]...)
		}
	}
	return d
}
