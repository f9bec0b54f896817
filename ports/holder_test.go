package ports

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestHolderIsWhoeverIsInTheWay(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"} {
		l, err := net.Listen("tcp", at)
		if err != nil {
			t.Logf("this machine has no %s", at)
			continue
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).AddrPort().Port()
		us := fmt.Sprintf("ports.test (pid %d)", os.Getpid())
		for place, inTheWay := range map[string]bool{
			"127.0.0.1": at == "127.0.0.1:0" || at == "0.0.0.0:0" || at == "[::]:0",
			"127.0.0.2": at == "0.0.0.0:0" || at == "[::]:0",
			"::1":       at == "[::1]:0" || at == "[::]:0" || at == "0.0.0.0:0", // of the last, it names more than there are
			"0.0.0.0":   true,
		} {
			want := ""
			if inTheWay {
				want = us
			}
			if got := Holder("tcp", netip.AddrPortFrom(netip.MustParseAddr(place), port)); got != want {
				t.Errorf("%s is listened on; in the way of %s is %q, want %q", l.Addr(), place, got, want)
			}
		}
	}
}
