// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"context"
	"strings"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/sampling"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
)

// sample keeps a share of traces by consistent probability sampling: what decides is the randomness of the trace (rv in the
// tracestate, else the last 56 bits of the trace id), so all spans and logs of a trace share a fate everywhere. What
// remains of a span's trace says so in its tracestate (ot=th:…), from which a back end computes true counts.
//
//   - A span kept for its error or duration is kept for certain, so its tracestate stays.
//   - A trace that was sampled to a smaller share before stays: the ratio is one of the original traffic, and
//     sampling twice at the same ratio is sampling once.
//   - Records without a trace id cannot be sampled and stay. Logs have no tracestate, and neither errors nor
//     durations: a log shares the fate of its trace's randomness.
type sample struct {
	threshold  sampling.Threshold
	state      string // the tracestate of a span that had none
	keepErrors bool
	keepSlower time.Duration // 0: none for its duration
}

func newSample(ratio float64, keepErrors bool, keepSlower time.Duration) *sample {
	threshold, err := sampling.ProbabilityToThreshold(ratio)
	if err != nil {
		threshold = sampling.NeverSampleThreshold // too small for 56 bits, or 0
	}
	return &sample{threshold: threshold, state: "ot=th:" + threshold.TValue(), keepErrors: keepErrors, keepSlower: keepSlower}
}

func (s *sample) run(_ context.Context, _ Message, p otlp.Payload) (did result) {
	p.Walk(otlp.Walk{Record: func(at *otlp.Cursor) bool {
		var kept, touched bool
		if at.Signal == subject.Traces {
			kept, touched = s.span(at.Span)
		} else {
			kept = s.log(at.Log)
		}
		did.changed = did.changed || !kept || touched
		return !kept
	}})
	return did
}

func (s *sample) log(record plog.LogRecord) (kept bool) {
	id := record.TraceID()
	return id.IsEmpty() || s.threshold.ShouldSample(sampling.TraceIDToRandomness(id))
}

func (s *sample) span(span ptrace.Span) (kept, touched bool) {
	if span.TraceID().IsEmpty() || s.keepErrors && span.Status().Code() == ptrace.StatusCodeError || s.slow(span) {
		return true, false
	}
	random := sampling.TraceIDToRandomness(span.TraceID())
	raw := span.TraceState().AsRaw()
	if raw == "" {
		kept = s.threshold.ShouldSample(random)
		if kept {
			span.TraceState().FromRaw(s.state)
		}
		return kept, kept
	}
	state, err := sampling.NewW3CTraceState(raw)
	if err != nil {
		return s.threshold.ShouldSample(random), false // not ours to mend
	}
	ot := state.OTelValue()
	if r, ok := ot.RValueRandomness(); ok {
		random = r
	}
	if before, ok := ot.TValueThreshold(); ok && !sampling.ThresholdLessThan(before, s.threshold) {
		return true, false
	}
	if !s.threshold.ShouldSample(random) {
		return false, false
	}
	return true, s.mark(span.TraceState(), &state)
}

// slow compares without a subtraction, which malformed times would make overflow.
func (s *sample) slow(span ptrace.Span) bool {
	start, end := span.StartTimestamp(), span.EndTimestamp()
	return s.keepSlower > 0 && end > start && end-start >= pcommon.Timestamp(s.keepSlower)
}

// mark writes the threshold into a tracestate.
func (s *sample) mark(raw pcommon.TraceState, state *sampling.W3CTraceState) (touched bool) {
	if state.OTelValue().UpdateTValueWithSampling(s.threshold) != nil {
		return false // a smaller share stands there, which the caller has excluded
	}
	var b strings.Builder
	if state.Serialize(&b) != nil {
		return false // a Builder does not fail
	}
	raw.FromRaw(b.String())
	return true
}
