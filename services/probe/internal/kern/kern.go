// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
)

// Tiers of hooks. Auto tries the others in this order, best first.
const (
	TierAuto    = "auto"
	TierBTF     = "btf"
	TierFentry  = "fentry"
	TierKprobe  = "kprobe"
	TierSyscall = "syscall"
)

// Options say what to load. The zero value is a probe that observes everything with the best tier.
type Options struct {
	Tier           string // one of the tiers; "" is auto
	RingBytes      int    // size of the ring, a power of two and a multiple of the page size; 0 is 8 MiB
	RequestWindow  int    // captured bytes of a request head, at most 512; 0 is 512
	ResponseWindow int    // of what answers it, if that is not HTTP, at most 256; 0 is 256
	DefaultIgnore  bool   // do not observe a process before Decide says so
	VerifierLog    bool   // ask the kernel for its full log when it refuses a program; see LoadError

	hooks   []hook   // of the tier, as this kernel names them
	without []string // programs whose hook this kernel does not have
	again   bool     // as if tasks could be preempted in hooks, whether or not this kernel lets them
	legacy  bool     // as if functions could be handed no memory, whether or not this kernel lets them
	salt    uint64   // of the ids of exchanges over unix sockets

	suspended time.Duration // what to add to the time for which the machine has been suspended so far

	tlsReport time.Duration // after which an encrypted connection is reported that goes on; 0 is a minute
}

// The bounds that are compiled into the programs (bpf/lib/types.h).
const (
	maxRequestWindow  = 512
	maxResponseWindow = 256
	defaultRingBytes  = 8 << 20
)

func (o Options) withDefaults() (Options, error) {
	if o.Tier == "" {
		o.Tier = TierAuto
	}
	if o.Tier != TierAuto && !slices.ContainsFunc(tiers(), func(t tier) bool { return t.name == o.Tier }) {
		return o, fmt.Errorf("unknown tier %q", o.Tier)
	}
	if o.tlsReport == 0 {
		o.tlsReport = time.Minute
	}
	if o.RingBytes == 0 {
		o.RingBytes = defaultRingBytes
	}
	if o.RingBytes < minRingBytes() || o.RingBytes > 1<<30 || o.RingBytes&(o.RingBytes-1) != 0 {
		return o, fmt.Errorf("ring of %d bytes: not a power of two from the page size to 1 GiB", o.RingBytes)
	}
	for window, limit := range map[*int]int{&o.RequestWindow: maxRequestWindow, &o.ResponseWindow: maxResponseWindow} {
		if *window == 0 {
			*window = limit
		}
		if *window < 0 || *window > limit {
			return o, fmt.Errorf("window of %d bytes: not from 1 to %d", *window, limit)
		}
	}
	return o, nil
}

func minRingBytes() int { return os.Getpagesize() }

// Kern is a set of attached programs. Its methods may be called from any goroutine.
type Kern struct {
	tier     string
	maps     map[string]*ebpf.Map
	programs map[string]*ebpf.Program
	links    []link.Link
	ring     *ring
	degraded []string
	files    atomic.Uint64 // hooked so far
}

// Load loads and attaches the programs. From its return on, processes are observed, except the caller; records gather in
// the ring until Read takes them. It fails with a *MissingError that names what the process may not do, with ErrNoBTF, or
// with a *LoadError for each tier that was tried.
func Load(o Options) (*Kern, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := requirements(); err != nil {
		return nil, err
	}
	held := types()
	defer runtime.KeepAlive(held)
	o.salt = rand.Uint64()
	o.suspended += suspended()
	if err := rlimit.RemoveMemlock(); err != nil { // whether there is one is found out by making a map
		return nil, fmt.Errorf("lift limit on locked memory: %w", err)
	}
	var failed []error
	for _, t := range tiers() {
		if o.Tier != TierAuto && o.Tier != t.name {
			continue
		}
		k, err := loadTier(t, o)
		if err == nil {
			return k, nil
		}
		failed = append(failed, err)
	}
	return nil, errors.Join(failed...)
}

func loadTier(t tier, o Options) (_ *Kern, err error) {
	k := &Kern{tier: t.name, maps: map[string]*ebpf.Map{}, programs: map[string]*ebpf.Program{}}
	defer func() {
		if err != nil {
			_ = k.Close()
		}
	}()
	t, without := t.here(o.again || preemptible())
	o.hooks, o.without = t.hooks, append(o.without, without...)
	for _, h := range t.hooks {
		if err := h.missing(); err != nil && h.vital {
			return nil, newLoadError(t.name, err)
		} else if err != nil {
			o.without = append(o.without, h.program)
			k.degraded = append(k.degraded, fmt.Sprintf("%s: %v", h.gives, err))
		}
	}
	for _, err := range k.loadObjects(t.objects, o) {
		if err != nil {
			return nil, newLoadError(t.name, err)
		}
	}
	beside := extras()
	for i, err := range k.loadObjects(objects(beside), o) {
		if err != nil {
			k.degraded = append(k.degraded, fmt.Sprintf("%s: %v", beside[i].gives, err))
		}
	}
	if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil { //nolint:gosec // a pid
		return nil, err
	}
	if k.ring, err = openRing(k.maps["ring"].FD(), o.RingBytes); err != nil {
		return nil, fmt.Errorf("open ring: %w", err)
	}
	return k, k.attach(t)
}

// attach attaches every hook. One that cannot be attached costs what it is for, unless without it there is nothing to see.
func (k *Kern) attach(t tier) error {
	for _, h := range t.hooks {
		if k.programs[h.program] == nil {
			continue // its hook is missing
		}
		l, err := h.attach(k.programs[h.program])
		switch {
		case err == nil:
			k.links = append(k.links, l)
		case h.vital:
			return newLoadError(t.name, fmt.Errorf("attach to %s: %w", h.name, err))
		default:
			k.degraded = append(k.degraded, fmt.Sprintf("%s: attach to %s: %v", h.gives, h.name, err))
		}
	}
	return nil
}

// Tier returns the name of the tier in use.
func (k *Kern) Tier() string { return k.tier }

// Degraded returns what this kernel's hooks cannot give, one sentence each.
func (k *Kern) Degraded() []string { return slices.Clone(k.degraded) }

// Decide sets the verdict on a process. The kernel forgets it when the process execs or exits, and hands it to the
// children it forks.
func (k *Kern) Decide(tgid uint32, v Verdict) error {
	p := proc{}
	if v.Observe {
		p.verdict = 1
	}
	if v.Threads {
		p.flags |= procThreads
	}
	if v.TLS {
		p.flags |= procTLS
	}
	v.Goroutines.put(&p)
	if err := k.maps["procs"].Put(tgid, p.bytes()); err != nil {
		return fmt.Errorf("decide on process %d: %w", tgid, err)
	}
	return nil
}

// Forget takes a verdict back: the default holds again. It is not an error if there is none.
func (k *Kern) Forget(tgid uint32) error {
	if err := k.maps["procs"].Delete(tgid); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("forget process %d: %w", tgid, err)
	}
	return nil
}

// Close detaches everything and frees what the kernel kept. A Read in progress returns.
func (k *Kern) Close() error {
	var errs []error
	for _, l := range k.links {
		errs = append(errs, l.Close())
	}
	if k.ring != nil {
		errs = append(errs, k.ring.close())
	}
	for _, p := range k.programs {
		errs = append(errs, p.Close())
	}
	for _, m := range k.maps {
		errs = append(errs, m.Close())
	}
	k.links, k.programs = nil, nil
	return errors.Join(errs...)
}
