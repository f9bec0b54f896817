package balance

import (
	"encoding/binary"
	"net/netip"
)

// proxyHeader tells a target who its client is: version 2 of the PROXY protocol
// (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt, 2.2), which the attribute proxy_protocol_v2.enabled asks
// for.
func proxyHeader(network string, from, to netip.AddrPort) []byte {
	const version2Proxy = 0x21
	transport := byte(1) // STREAM
	if network == "udp" {
		transport = 2 // DGRAM
	}
	header := []byte("\r\n\r\n\x00\r\nQUIT\n")
	a, b := from.Addr().Unmap(), to.Addr().Unmap()
	if a.Is4() && b.Is4() {
		header = append(header, version2Proxy, 0x10|transport)
		header = binary.BigEndian.AppendUint16(header, 12)
		header = append(append(header, a.AsSlice()...), b.AsSlice()...)
	} else {
		header = append(header, version2Proxy, 0x20|transport)
		header = binary.BigEndian.AppendUint16(header, 36)
		wideA, wideB := a.As16(), b.As16()
		header = append(append(header, wideA[:]...), wideB[:]...)
	}
	header = binary.BigEndian.AppendUint16(header, from.Port())
	return binary.BigEndian.AppendUint16(header, to.Port())
}
