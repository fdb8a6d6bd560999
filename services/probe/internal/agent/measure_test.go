// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"testing"

	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// TestAgentMeasures: of processes that run here, those with traffic are measured and no others.
func TestAgentMeasures(t *testing.T) {
	t.Parallel()
	self, idle := uint32(os.Getpid()), child(t)
	r := build(t, new(sel.Selector))
	r.kernel.give(func(s kern.Sink) {
		serve(s, self, 80, "GET /a HTTP/1.1\r\n\r\n")
		r.cfg.Measure = 1 // from now on as often as it can
	})
	samples := func() (samples []*eventv1.ProcessSample) {
		for _, d := range bustest.ReadAll(t, r.bus, subject.DefaultRoot.RawStream().Name, subject.DefaultRoot.RawProcess("node.1")) {
			data, err := d.Data()
			if err != nil {
				t.Fatal(err)
			}
			m := new(eventv1.ProcessBatch)
			if err := proto.Unmarshal(data, m); err != nil {
				t.Fatal(err)
			}
			if n := len(m.GetEvents()) + len(m.GetSamples()); d.Items() != n || m.GetOrigin().GetNode() != "node.1" {
				t.Errorf("batch of %d says %d items and origin %v", n, d.Items(), m.GetOrigin())
			}
			samples = append(samples, m.GetSamples()...)
		}
		return samples
	}
	bustest.Eventually(t, "two samples", func() bool { return len(samples()) >= 2 })
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for _, s := range samples() {
		switch s.GetProcess().GetPid() {
		case self:
			if s.GetMemoryBytes() == 0 || s.GetStartUnixNano() >= s.GetTimeUnixNano() || last != 0 && s.GetStartUnixNano() != last {
				t.Errorf("sample %v after one that ended at %d", s, last)
			}
			last = s.GetTimeUnixNano()
		case idle:
			t.Error("a process without traffic is measured")
		}
	}
}
