package network

import (
	"fmt"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// doomed deletes links, many at once where it can. To delete a link the kernel waits, several times and for all
// processors, while it lets nobody else change any link: Connects would stand behind every single Disconnect. It waits
// no longer for a whole group of links. So links are put in a group of the doomed first, and whoever is next deletes
// the group.
type doomed struct {
	host  *netlink.Handle
	group uint32 // derived from the name: nobody else puts links in it

	mu sync.Mutex // held while deleting; those who wait for it find their link gone, most often
}

// delete returns when there is no link of that name.
func (d *doomed) delete(name string) error {
	link, err := d.host.LinkByName(name)
	if err == nil {
		err = d.host.LinkSetGroup(link, int(d.group))
	}
	if err == nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		if _, err = d.host.LinkByName(name); err == nil {
			err = d.deleteGroup()
		}
	}
	if err != nil && !noLink(err) {
		return fmt.Errorf("cannot delete link %s: %w", name, err)
	}
	return nil
}

func (d *doomed) deleteGroup() error {
	req := nl.NewNetlinkRequest(unix.RTM_DELLINK, unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(d.group)))
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
