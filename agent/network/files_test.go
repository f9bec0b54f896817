package network

import (
	"net/netip"
	"strings"
	"testing"
)

func TestResolvConf(t *testing.T) {
	for _, c := range []struct {
		name, host, want string
	}{
		{"the host's", "# c\nnameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\n",
			"nameserver 10.0.0.2\nsearch a.example b.example\noptions ndots:2\n"},
		{"loopback and IPv6 left out", "nameserver 127.0.0.1\nnameserver ::1\nnameserver fd00::1\nnameserver 10.0.0.2\n",
			"nameserver 10.0.0.2\n"},
		{"none remains", "nameserver 127.0.0.53\ndomain old.example\nsearch example\n",
			"nameserver 8.8.8.8\nnameserver 8.8.4.4\nsearch example\n"},
		{"an empty host", "", "nameserver 8.8.8.8\nnameserver 8.8.4.4\n"},
	} {
		if got := string(ResolvConf([]byte(c.host))); got != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}

func TestHosts(t *testing.T) {
	got := string(Hosts("web", netip.MustParseAddr("10.1.2.3")))
	want := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
		"fe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n" +
		"10.1.2.3\tweb\n"
	if got != want {
		t.Errorf("%swant\n%s", got, want)
	}
	if got := string(Hostname("web")); got != "web\n" {
		t.Errorf("hostname %q", got)
	}
}

func TestCheckHostname(t *testing.T) {
	long := strings.Repeat("x", 63)
	for name, good := range map[string]bool{
		"web": true, "Web-1.shop.example": true, long: true, strings.Join([]string{long, long, long, long[:61]}, "."): true,
		"": false, "a b": false, "a\n1.2.3.4 b": false, "a_b": false, "ä": false, "a..b": false, ".a": false, "a.": false,
		long + "x": false, strings.Join([]string{long, long, long, long[:62]}, "."): false,
	} {
		if err := CheckHostname(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestWithHosts(t *testing.T) {
	a, b := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("fd00::1")
	got, err := WithHosts([]byte("127.0.0.1 localhost"), []NamedHost{{a, []string{"db", "database"}}, {b, []string{"six"}}})
	if want := "127.0.0.1 localhost\n10.1.2.3\tdb database\nfd00::1\tsix\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
	for _, name := range []string{"", "a b", "a\n10.0.0.1 b", "a#b", "ä", "a\x00", strings.Repeat("x", 254)} {
		if got, err := WithHosts(nil, []NamedHost{{a, []string{name}}}); err == nil {
			t.Errorf("%q was taken: %q", name, got)
		}
	}
}

func TestWithResolvers(t *testing.T) {
	const conf = "nameserver 10.0.0.2\nsearch a.example\noptions ndots:2\n"
	for _, c := range []struct {
		name, servers, search, want string
	}{
		{"nothing asked for", "", "", conf},
		{"servers", "10.0.0.9 fd00::1", "", "nameserver 10.0.0.9\nnameserver fd00::1\nsearch a.example\noptions ndots:2\n"},
		{"search", "", "b.example c.example", "nameserver 10.0.0.2\nsearch b.example c.example\noptions ndots:2\n"},
		{"no search", "127.0.0.1", ".", "nameserver 127.0.0.1\noptions ndots:2\n"},
		{"no address", "10.0.0.9 ns.example", "", "invalid DNS server: ns.example is not an ip address"},
		{"a domain that is a line", "", "x\x00y", `"x\x00y" is not a valid domain`},
	} {
		got, err := WithResolvers([]byte(conf), strings.Fields(c.servers), strings.Fields(c.search))
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != c.want {
			t.Errorf("%s:\n%swant\n%s", c.name, got, c.want)
		}
	}
}
