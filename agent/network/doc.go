// Package network gives a container what it needs of the network, in the process, by netlink and nftables alone.
//
// Words:
//
//   - A Network is all that one Havn owns of a machine's network: a bridge (hvn-NAME), a subnet, an nftables table
//     (havn-NAME) and a folder of network namespaces. Two Havns have two Networks and share nothing but the kernel.
//   - An endpoint is one container's connection, known by an ID that the caller chooses. Its attachment is what came of
//     it: a network namespace, an address, and bindings.
//   - A binding says that a host port leads to a container port. The host port is held: a socket is bound to it for as
//     long as this process lives, so nobody else on the machine can take it unnoticed.
//   - A slot is a place in the subnet. Address, MAC address, names of the interface and of the namespace all follow
//     from the slot's number, so there is nothing else to remember and nothing to search.
//   - A record is one small file per endpoint: its ID, slot and bindings.
//
// # What survives a crash
//
// The record is the commit. Before it is written, whatever exists belongs to nobody and the next Open removes it. Once
// it is written the endpoint exists, and the next Open makes the firewall and the held ports agree with it. Disconnect
// removes the record last. So kill -9 at any point leaves either an endpoint that Attachments names or nothing that
// lasts.
//
//	Connect:    slot (namespace, veth, address) -> hold ports -> RECORD -> publish
//	Disconnect: unpublish -> remove slot -> forget RECORD -> release ports
//
// Records are not synced to disk: what they describe does not outlive the kernel that they would be lost with.
//
// # What is changed on the host
//
//   - net.ipv4.ip_forward becomes 1 and stays so, since others may have come to need it. On the bridge alone:
//     route_localnet=1, so that 127.0.0.1:PORT can lead to a container, and IPv6 is off, so that a container cannot
//     advertise itself as the host's router.
//   - The table havn-NAME, shown in firewall.go. It never accepts on behalf of other tables and drops only what goes to
//     or comes from our bridge: packets from a container to 127.0.0.0/8, and packets routed to a container from
//     elsewhere that no binding asked for.
//   - A route to 169.254.170.2 by the bridge, so that what the firewall turns round has somewhere to go at first.
//   - Where another table's forward chain drops by policy (a Docker engine, ufw, firewalld), two accept rules for
//     our bridge at its head, and one for questions from it at the head of an input chain that does. An accept of ours could not help there: in nftables any table's drop is final. This is
//     looked at by Open; rules of the old iptables-legacy kernel interface are neither seen nor changed.
//
// Destroy removes all of it but ip_forward. Bindings are IPv4 only.
package network
