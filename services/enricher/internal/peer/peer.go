// SPDX-License-Identifier: Apache-2.0

// Package peer bounds the addresses under which the metrics of a service are counted. A crawler talks to a million hosts;
// its metrics name the first few hundred and call the rest "other".
package peer

import (
	"strconv"
	"strings"
	"sync"
)

const (
	// MaxAddresses is how many addresses the metrics of one service name.
	MaxAddresses = 200
	maxServices  = 8192 // remembered at a time, some 20 KiB each at worst
)

// Set is a set of strings per key that replicas may share. AddBounded adds member unless that would make the set larger than
// limit; it tells whether the member is in the set now.
type Set interface {
	AddBounded(key, member string, limit int) bool
}

// Peers remembers the addresses of every service. It is safe for concurrent use.
type Peers struct {
	set Set

	mu      sync.Mutex
	service map[string]*known
}

type known struct {
	addresses map[address]struct{}
	full      bool
}

type address struct {
	host string
	port uint32
}

// New returns Peers that share what they know through set, which may be nil.
func New(set Set) *Peers { return &Peers{set: set, service: map[string]*known{}} }

// Admit tells whether the metrics of a service may name an address. An answer of yes holds for as long as the service is
// remembered.
func (p *Peers) Admit(service, host string, port uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.service[service]
	if k == nil {
		if len(p.service) == maxServices {
			clear(p.service)
		}
		k = &known{addresses: map[address]struct{}{}}
		p.service[strings.Clone(service)] = k
	}
	a := address{host, port}
	if _, ok := k.addresses[a]; ok || k.full {
		return ok
	}
	if len(k.addresses) == MaxAddresses || p.set != nil && !p.set.AddBounded("peer/"+service, host+" "+strconv.FormatUint(uint64(port), 10), MaxAddresses) {
		k.full = true
		return false
	}
	k.addresses[address{strings.Clone(host), port}] = struct{}{}
	return true
}
