package network

import (
	"errors"
	"fmt"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The names of what one Havn has in the kernel, after which its own name follows.
const (
	bridgePrefix = "hvn-"
	tablePrefix  = "havn-"
)

// sweepTables deletes the tables of Havns that are gone with their bridges: killed, and cleaned up after by hand. Such
// a table still masquerades its subnet, and so what the containers of a new bridge with that subnet say to each other.
// A living Havn makes its bridge before its table and deletes it after, so a table without a bridge is nobody's.
func sweepTables(h *netlink.Handle) error {
	tables, err := (&nftables.Conn{}).ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		return fmt.Errorf("cannot list the nftables tables: %w", err)
	}
	for _, t := range tables {
		name, ours := strings.CutPrefix(t.Name, tablePrefix)
		if !ours {
			continue
		}
		if _, err := h.LinkByName(bridgePrefix + name); !noLink(err) {
			continue
		}
		c := &nftables.Conn{}
		c.DelTable(t)
		if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("cannot delete the nftables table %s, which a Havn left: %w", t.Name, err)
		}
	}
	return nil
}
