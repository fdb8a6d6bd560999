// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// measured is what a look at processes found.
type measured struct {
	samples []*eventv1.ProcessSample
	left    int // processes that were too many
}

// measure begins to measure what observed processes use, if it is time. Reading their files takes long where they are many, so others do
// it; takeSamples has the results.
func (a *Agent) measure(now time.Time) {
	if a.cfg.Measure == 0 || a.measuring || now.Sub(a.measured) < a.cfg.Measure {
		return
	}
	a.measured, a.measuring = now, true
	var processes []*eventv1.Process
	for _, w := range a.watched {
		if w.met && w.observed && !w.process.Ended() {
			processes = append(processes, w.process.Info)
		}
	}
	a.lookers.Go(func() {
		var m measured
		m.samples, m.left = a.meter.Read(processes)
		a.samples <- m
	})
}

// takeSamples publishes what was measured.
func (a *Agent) takeSamples() {
	var m measured
	select {
	case m = <-a.samples:
		a.measuring = false
	default:
		return
	}
	a.losses.add("unmeasured_process", m.left)
	size, first := 0, 0
	for i, s := range m.samples {
		if size += s.SizeVT(); size >= maxEventBytes || i == len(m.samples)-1 {
			batch := m.samples[first : i+1]
			if a.sendProcesses(&eventv1.ProcessBatch{Samples: batch}, len(batch)) {
				a.metrics.processSamples.Add(float64(len(batch)))
			}
			size, first = 0, i+1
		}
	}
}
