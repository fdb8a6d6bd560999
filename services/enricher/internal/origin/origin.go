// SPDX-License-Identifier: Apache-2.0

// Package origin watches the series of batches that probes number, and tells how many never came.
//
// It sees what this replica reads and no more. While other replicas take a share of the batches, the series look full of
// gaps, so nothing is counted then: see Shared.
package origin

import (
	"maps"
	"math/bits"
	"strings"
	"sync"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

const (
	// window is how many batches may come late, since workers overtake one another, before they count as missing. It is the
	// width of the bit set that remembers them.
	window = 64
	// maxJump is the longest gap that is believed. Beyond it the series is taken up anew.
	maxJump = 1 << 20

	maxNodes   = 4096 // remembered at a time
	maxReasons = 16   // for drops, per node
	maxName    = 255  // bytes of a node or a reason
	// sharedFor is how long after the sign of another replica this one does not count: three heartbeats.
	sharedFor = 30 * time.Second
)

// Ledger follows the series of every node. It is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	nodes  map[string]*node
	shared time.Time // until when others are taken to read as well
}

// node is the present run of the probe of one node.
type node struct {
	run     string
	top     uint64 // the highest sequence number so far; 0 before the first
	seen    uint64 // bit i: top-i came
	used    time.Time
	dropped map[string]uint64
}

// NewLedger returns an empty Ledger.
func NewLedger() *Ledger { return &Ledger{nodes: map[string]*node{}} }

// Shared tells that another replica is alive.
func (l *Ledger) Shared() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shared = time.Now().Add(sharedFor)
}

// See takes note of a batch and returns how many before it are now known to be missing. A batch that comes again counts
// nothing; the first one of a run, or the first after others read as well, begins a series.
func (l *Ledger) See(o *eventv1.Origin) (missing uint64) {
	name := label(o.GetNode())
	if name == "" || o.GetSequence() == 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	n := l.nodes[name]
	if n == nil || n.run != o.GetRun() {
		n = &node{run: strings.Clone(o.GetRun())}
		l.remember(name, n)
	}
	n.used = now
	n.note(o)
	if now.Before(l.shared) {
		n.top = 0
		return 0
	}
	return n.advance(o.GetSequence())
}

// advance moves the window on to a sequence number and counts those that it leaves behind and that never came.
func (n *node) advance(sequence uint64) (missing uint64) {
	switch {
	case n.top == 0 || sequence > n.top+maxJump:
		n.top, n.seen = sequence, ^uint64(0)
	case sequence <= n.top:
		n.seen |= 1 << (n.top - sequence) // none if it is older than the window
	default:
		step := sequence - n.top
		gone := min(step, window)
		missing = gone - uint64(bits.OnesCount64(n.seen>>(window-gone))) + step - gone //nolint:gosec // at most 64
		n.top, n.seen = sequence, n.seen<<step|1
	}
	return missing
}

// note takes over what the probe says that it dropped. The counts of a run only grow; an older batch changes nothing.
func (n *node) note(o *eventv1.Origin) {
	for reason, count := range o.GetDropped() {
		reason = label(reason)
		before, known := n.dropped[reason]
		if count <= before || !known && len(n.dropped) == maxReasons {
			continue
		}
		if n.dropped == nil {
			n.dropped = map[string]uint64{}
		}
		n.dropped[strings.Clone(reason)] = count
	}
}

// remember puts n in the place of the last run of its node. If there are too many nodes, the one that was silent longest goes.
func (l *Ledger) remember(name string, n *node) {
	if _, ok := l.nodes[name]; !ok && len(l.nodes) == maxNodes {
		var oldest string
		for name, n := range l.nodes {
			if oldest == "" || n.used.Before(l.nodes[oldest].used) {
				oldest = name
			}
		}
		delete(l.nodes, oldest)
	}
	l.nodes[strings.Clone(name)] = n
}

// Nodes returns how many nodes are remembered.
func (l *Ledger) Nodes() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.nodes)
}

// EachDropped calls fn with what each probe dropped in its present run, by reason, as it last said. Names are valid UTF-8
// of bounded length.
func (l *Ledger) EachDropped(fn func(node, reason string, count uint64)) {
	l.mu.Lock()
	dropped := make(map[string]map[string]uint64, len(l.nodes))
	for name, n := range l.nodes {
		dropped[name] = maps.Clone(n.dropped)
	}
	l.mu.Unlock()
	for name, reasons := range dropped {
		for reason, count := range reasons {
			fn(name, reason, count)
		}
	}
}

// label makes s fit for a label of a metric.
func label(s string) string { return strings.ToValidUTF8(s[:min(len(s), maxName)], "_") }
