package event

import (
	"net/netip"
	"strings"
)

// parseAddress reads the address in a logged one: IPv4 or IPv6, alone, with a
// port or in brackets. plain says that it was logged as nothing but an address.
// addr is "" for networks, host names and junk, which name no single caller.
func parseAddress(logged string) (addr, port string, plain bool) {
	s := strings.TrimSpace(logged)
	if a, err := netip.ParseAddr(s); err == nil {
		return canonical(a), "", true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return canonical(ap.Addr()), s[strings.LastIndexByte(s, ':')+1:], false
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			if a, err := netip.ParseAddr(inner); err == nil {
				return canonical(a), "", false
			}
		}
	}
	return "", "", false
}

// canonical drops a zone, which means nothing off its host, and writes an
// IPv4 address inside IPv6 as IPv4.
func canonical(a netip.Addr) string { return a.WithZone("").Unmap().String() }
