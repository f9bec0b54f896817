package network

import (
	"errors"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestADumpIsAskedForAgain(t *testing.T) {
	other := errors.New("other")
	for name, test := range map[string]struct {
		errs  []error // of one attempt after another; the last stays
		want  error
		tries int
	}{
		"whole":       {[]error{nil}, nil, 1},
		"interrupted": {[]error{netlink.ErrDumpInterrupted, netlink.ErrDumpInterrupted, nil}, nil, 3},
		"for ever":    {[]error{netlink.ErrDumpInterrupted}, netlink.ErrDumpInterrupted, maxDumps},
		"other":       {[]error{other}, other, 1},
	} {
		tries := 0
		_, err := dump(func() ([]int, error) {
			err := test.errs[min(tries, len(test.errs)-1)]
			tries++
			return nil, err
		})
		if !errors.Is(err, test.want) || tries != test.tries {
			t.Errorf("%s: %v after %d", name, err, tries)
		}
	}
}
