package network

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// CheckHostname refuses a name that could not stand in /etc/hosts, or that no machine may have.
func CheckHostname(name string) error {
	if len(name) > 253 {
		return fmt.Errorf("the hostname has %d characters, and may have 253", len(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return fmt.Errorf("the hostname %q has a part that is empty or longer than 63 characters", name)
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
				return fmt.Errorf("the hostname %q has other characters than letters, digits, hyphens and dots", name)
			}
		}
	}
	return nil
}

// Hostname renders /etc/hostname.
func Hostname(name string) []byte { return []byte(name + "\n") }

// Hosts renders /etc/hosts. ip is the container's address; the zero Addr stands for none, and the name then means
// loopback.
func Hosts(hostname string, ip netip.Addr) []byte {
	var b bytes.Buffer
	b.WriteString("127.0.0.1\tlocalhost\n" +
		"::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	if hostname != "" {
		own := "127.0.1.1"
		if ip.IsValid() {
			own = ip.String()
		}
		fmt.Fprintf(&b, "%s\t%s\n", own, hostname)
	}
	return b.Bytes()
}

// NamedHost is what a line of /etc/hosts says.
type NamedHost struct {
	Address netip.Addr
	Names   []string
}

// WithHosts appends lines to /etc/hosts. No name may be more than one word of one line.
func WithHosts(hosts []byte, extra []NamedHost) ([]byte, error) {
	if len(extra) == 0 {
		return hosts, nil
	}
	hosts = slices.Clone(hosts)
	if len(hosts) > 0 && hosts[len(hosts)-1] != '\n' {
		hosts = append(hosts, '\n')
	}
	for _, h := range extra {
		for _, name := range h.Names {
			if !word(name) {
				return nil, fmt.Errorf("%q cannot stand in /etc/hosts as a name", name)
			}
		}
		hosts = fmt.Appendf(hosts, "%s\t%s\n", h.Address, strings.Join(h.Names, " "))
	}
	return hosts, nil
}

// word tells whether a text stays one word in a file of lines of words, where # begins a comment.
func word(text string) bool {
	return text != "" && len(text) <= 253 && !strings.ContainsFunc(text, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || r == '#'
	})
}

// Public resolvers, for a host whose own can be reached only on its loopback.
var fallbackServers = []string{"8.8.8.8", "8.8.4.4"}

// ResolvConf renders /etc/resolv.conf for a container with a namespace of its own, from the host's. Resolvers on the
// host's loopback cannot be reached from there, nor can IPv6 ones; if none remain there are public ones instead.
func ResolvConf(host []byte) []byte {
	from := parseResolvConf(host)
	var servers []string
	for _, a := range nameservers(host) {
		if a.Is4() && !a.IsLoopback() {
			servers = append(servers, a.String())
		}
	}
	if len(servers) == 0 {
		servers = fallbackServers
	}
	from.servers = servers
	return from.render()
}

func (d resolvers) render() []byte {
	var b bytes.Buffer
	for _, s := range d.servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	if len(d.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(d.search, " "))
	}
	if len(d.options) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(d.options, " "))
	}
	return b.Bytes()
}

// WithResolvers puts servers, and domains to search, in place of those that a resolv.conf names, where there are any. The
// domain "." alone stands for no search. Docker docs, "Networking overview", DNS services.
func WithResolvers(conf []byte, servers, search []string) ([]byte, error) {
	if len(servers) == 0 && len(search) == 0 {
		return conf, nil
	}
	from := parseResolvConf(conf)
	if len(servers) > 0 {
		from.servers = servers
	}
	if len(search) > 0 {
		from.search = slices.DeleteFunc(slices.Clone(search), func(domain string) bool { return domain == "." })
	}
	for _, s := range servers {
		if _, err := netip.ParseAddr(s); err != nil {
			return nil, fmt.Errorf("invalid DNS server: %s is not an ip address", s)
		}
	}
	for _, domain := range search {
		if !word(domain) {
			return nil, fmt.Errorf("%q is not a valid domain", domain)
		}
	}
	return from.render(), nil
}

// HostResolvConf reads the host's resolv.conf: not the one that leads to systemd-resolved on the loopback, but the one
// that systemd-resolved itself goes by.
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
	for _, s := range parseResolvConf(conf).servers {
		if a, err := netip.ParseAddr(s); err == nil {
			all = append(all, a.Unmap())
		}
	}
	return all
}

// resolvers is what a resolv.conf says.
type resolvers struct{ servers, search, options []string }

func parseResolvConf(conf []byte) resolvers {
	var d resolvers
	for lines := bufio.NewScanner(bytes.NewReader(conf)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			d.servers = append(d.servers, f[1])
		case "domain", "search": // the last one wins
			d.search = f[1:]
		case "options":
			d.options = append(d.options, f[1:]...)
		}
	}
	return d
}
