// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"maps"
	"sync"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/metric"
)

// stage is this service in busbar_dropped_records_total.
const stage = "probe"

// losses counts records that did not reach the bus, by reason: for the metric, for the origin of batches and for the heartbeat.
type losses struct {
	drops *metric.Drops

	mu       sync.Mutex
	byReason map[string]uint64
	copied   map[string]uint64 // of byReason as it is, or nil
	kernel   map[string]uint64 // the kernel's counters as they were last
}

func newLosses(drops *metric.Drops) *losses {
	return &losses{drops: drops, byReason: map[string]uint64{}, kernel: map[string]uint64{}}
}

// add counts n records.
func (l *losses) add(reason string, n int) {
	if n <= 0 {
		return
	}
	l.drops.Add(stage, reason, n)
	l.mu.Lock()
	l.byReason[reason] += uint64(n)
	l.copied = nil
	l.mu.Unlock()
}

// addMessage counts what was in a message. Process events have a reason of their own, so that the others add up to exchanges.
func (l *losses) addMessage(reason string, m bus.Msg) {
	if m.Header[bus.HeaderSchema] == subject.SchemaProcesses {
		reason += "_process"
	}
	l.add(reason, m.Items)
}

// addKernel takes in the kernel's counters, which only grow.
func (l *losses) addKernel(counters map[string]uint64) {
	for reason, n := range counters {
		l.add(reason, int(n-l.kernel[reason]))
		l.kernel[reason] = n
	}
}

// snapshot returns the counts so far, without zeros. It is not to be changed.
func (l *losses) snapshot() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.copied == nil {
		l.copied = maps.Clone(l.byReason)
	}
	return l.copied
}
