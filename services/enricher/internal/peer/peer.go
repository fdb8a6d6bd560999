// SPDX-License-Identifier: Apache-2.0

// Package peer bounds the addresses under which the metrics of a service are counted. A crawler talks to a million hosts;
// its metrics name the first few hundred and call the rest "other".
package peer

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// MaxAddresses is how many addresses the metrics of one service name.
	MaxAddresses = 200
	// maxTotal is the same over all services, some 150 bytes each. Beyond it new ones are "other".
	maxTotal = 100_000
	// maxServices is how many services are remembered at a time; with more, all are forgotten here.
	maxServices = 8192
)

// Set is what replicas agree by: a set of strings per key. An error says that nobody knows at the moment.
type Set interface {
	// Add adds member unless the set has limit members already, and tells whether it is in the set now.
	Add(key, member string, limit int) (in bool, err error)
	Members(key string) ([]string, error)
}

// Peers remembers the addresses of every service. It is safe for concurrent use.
type Peers struct {
	set   Set
	total atomic.Int64

	mu      sync.Mutex
	service map[string]*known
}

// known are the addresses of a service that are named. While the set does not answer they are those that this replica met first; when it
// does they are some that are in the set, and when that is full, all that are.
type known struct {
	key string

	mu        sync.Mutex
	addresses map[address]struct{}
	full      bool // the set is
	unsure    bool // some are not agreed on
}

type address struct {
	host string
	port uint32
}

// New returns Peers that agree with others by way of a set, or with nobody if that is nil.
func New(set Set) *Peers { return &Peers{set: set, service: map[string]*known{}} }

// Admit tells whether the metrics of a service may name an address.
func (p *Peers) Admit(service, host string, port uint32) bool {
	k := p.of(service)
	k.mu.Lock()
	defer k.mu.Unlock()
	a := address{host, port}
	if _, ok := k.addresses[a]; ok || k.full {
		return ok
	}
	if p.total.Load() >= maxTotal {
		return false
	}
	in := len(k.addresses) < MaxAddresses
	if p.set != nil {
		in = p.agree(k, a, in)
	} else {
		k.full = !in
	}
	if in {
		k.addresses[address{strings.Clone(host), port}] = struct{}{}
		p.total.Add(1)
	}
	return in
}

func (p *Peers) of(service string) *known {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := p.service[service]
	if k == nil {
		if len(p.service) == maxServices {
			clear(p.service)
			p.total.Store(0)
		}
		service = strings.Clone(service)
		k = &known{key: "peer/" + service, addresses: map[address]struct{}{}}
		p.service[service] = k
	}
	return k
}

// agree asks the set for an address; if it does not answer, alone counts.
func (p *Peers) agree(k *known, a address, alone bool) (in bool) {
	in, err := p.set.Add(k.key, a.member(), MaxAddresses)
	if err == nil && !in {
		err = p.adopt(k)
	}
	if err != nil {
		k.unsure = true
		return alone
	}
	return in
}

// adopt takes over what is in a set that is full.
func (p *Peers) adopt(k *known) error {
	members, err := p.set.Members(k.key)
	if err != nil {
		return err
	}
	p.total.Add(int64(len(members) - len(k.addresses)))
	k.full = true
	clear(k.addresses)
	for _, m := range members {
		k.addresses[parse(m)] = struct{}{}
	}
	return nil
}

// Renew agrees again on what was decided while the set did not answer; with anew, on everything, because the set has lost what it had. It
// returns an error if the set does not answer.
func (p *Peers) Renew(anew bool) error {
	p.mu.Lock()
	all := make([]*known, 0, len(p.service))
	for _, k := range p.service {
		all = append(all, k)
	}
	p.mu.Unlock()
	for _, k := range all {
		if err := p.renew(k, anew); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peers) renew(k *known, anew bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.unsure && !anew {
		return nil
	}
	k.unsure, k.full = true, false
	for a := range k.addresses {
		in, err := p.set.Add(k.key, a.member(), MaxAddresses)
		if err == nil && !in {
			if err = p.adopt(k); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	k.unsure = false
	return nil
}

func (a address) member() string { return a.host + " " + strconv.FormatUint(uint64(a.port), 10) }

func parse(member string) address {
	at := strings.LastIndexByte(member, ' ')
	port, err := strconv.ParseUint(member[at+1:], 10, 32)
	if at < 0 || err != nil {
		return address{host: member}
	}
	return address{member[:at], uint32(port)}
}
