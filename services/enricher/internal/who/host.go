// SPDX-License-Identifier: Apache-2.0

package who

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// maxHost is how long a name may be, in bytes (RFC 1035).
const maxHost = 253

// Host is what a client calls a server.
type Host struct {
	Name    string     // in lower case, without the dot at the end; "" if it is none
	Address netip.Addr // if it was called by its address
}

// ParseHost reads a Host field, an authority, or a server name of TLS: a name or an address, and perhaps a port. What can be neither,
// because somebody writes nonsense there, is the zero Host.
func ParseHost(field string) Host {
	name := field
	if rest, ok := strings.CutPrefix(name, "["); ok {
		inside, port, closed := strings.Cut(rest, "]")
		if !closed || port != "" && port[0] != ':' {
			return Host{}
		}
		return parseAddress(inside)
	}
	switch first, last := strings.IndexByte(name, ':'), strings.LastIndexByte(name, ':'); {
	case first < 0:
	case first == last:
		name = name[:first]
	default:
		return parseAddress(name) // of IPv6, without brackets
	}
	if name = strings.TrimSuffix(name, "."); name == "" || len(name) > maxHost {
		return Host{}
	}
	digits, upper := true, false
	for i := range len(name) {
		switch c := name[i]; {
		case '0' <= c && c <= '9', c == '.':
		case 'a' <= c && c <= 'z', c == '-', c == '_', c >= utf8.RuneSelf:
			digits = false
		case 'A' <= c && c <= 'Z':
			digits, upper = false, true
		default:
			return Host{}
		}
	}
	switch {
	case digits:
		return parseAddress(name)
	case !utf8.ValidString(name) || name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return Host{}
	case upper:
		name = strings.ToLower(name)
	}
	return Host{Name: name}
}

func parseAddress(s string) Host {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return Host{}
	}
	return Host{Address: a.Unmap().WithZone("")}
}

// From is what a host is called by who is in a namespace of Kubernetes: of a name that the DNS of Kubernetes gives the service, with
// its namespace where that is another.
func (h Host) From(namespace string) string {
	name, theirs := h.Kube()
	switch {
	case name == "":
		return h.Name
	case theirs == namespace:
		return name
	}
	end := strings.LastIndex(h.Name, ".svc")
	return h.Name[end-len(name)-1-len(theirs) : end]
}

// Kube tells the service and the namespace of a name that the DNS of Kubernetes gives, such as cart.shop.svc.cluster.local, or
// db-0.db.shop.svc for a pod of a StatefulSet; "" for other names.
func (h Host) Kube() (service, namespace string) {
	rest, ok := strings.CutSuffix(strings.TrimSuffix(h.Name, ".cluster.local"), ".svc")
	if !ok {
		return "", ""
	}
	i := strings.LastIndexByte(rest, '.')
	if i <= 0 || i == len(rest)-1 {
		return "", ""
	}
	namespace = rest[i+1:]
	service = rest[:i]
	return service[strings.LastIndexByte(service, '.')+1:], namespace
}
