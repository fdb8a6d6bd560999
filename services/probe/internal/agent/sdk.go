// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/proc"
	"github.com/busbar/busbar/services/probe/internal/sdk"
	"github.com/busbar/busbar/services/probe/internal/sel"
)

// notice looks whether the exchange that was just added is one by which a process exports telemetry itself.
func (a *Agent) notice(w *watched, e *kern.Exchange) {
	if e.Role != kern.Client {
		return
	}
	if found := w.process.SDK.Seen(e, a.batch.Last()) &^ w.exports; found != 0 {
		w.exports |= found
		a.yield(w)
	}
}

// longestPause bounds how long a process that could export by gRPC goes without being looked at again.
const longestPause = 10 * time.Minute

// dial is a connection that a process would have if it exported by gRPC.
type dial struct {
	*watched
	process *proc.Process
	port    uint16
	exports sdk.Signals
}

// lookAtDials begins to look for the connections by which processes export by gRPC, less and less often for each. Finding
// connections takes long where there are many, so others do it; takeDials has the results.
func (a *Agent) lookAtDials(now time.Time) {
	if a.looking {
		return
	}
	var due []dial
	for _, w := range a.watched {
		port, exports := w.process.SDK.GRPC()
		if exports&^w.exports == 0 || !w.met || !w.observed || w.process.Ended() || now.Before(w.look) {
			continue
		}
		w.pause = min(max(2*w.pause, sweepEvery), longestPause)
		w.look = now.Add(w.pause)
		due = append(due, dial{w, w.process, port, exports})
	}
	if len(due) == 0 {
		return
	}
	a.looking = true
	a.lookers.Go(func() {
		l := sel.NewListeners(a.cfg.Proc.Root)
		a.dials <- slices.DeleteFunc(due, func(d dial) bool { return !l.Connected(d.process.PID(), d.port) })
	})
}

// takeDials takes note of what was found.
func (a *Agent) takeDials() {
	select {
	case found := <-a.dials:
		a.looking = false
		for _, d := range found {
			if d.watched.process == d.process {
				d.watched.exports |= d.exports
				a.yield(d.watched)
			}
		}
	default:
	}
}

// yield brings what batches say about the SDK inside a process up to date, and publishes what is new. Exchanges that are in the
// batch already were before the SDK was noticed; they keep what was known then.
func (a *Agent) yield(w *watched) {
	traces, metrics := w.exports&sdk.Traces != 0, w.exports&sdk.Metrics != 0
	yield, info := left(w.sdk, w.exports), w.process.Info
	if info.GetExportsTraces() == traces && info.GetExportsMetrics() == metrics && info.GetYield() == yield {
		return
	}
	info = proto.CloneOf(info)
	info.ExportsTraces, info.ExportsMetrics, info.Yield = traces, metrics, yield
	w.process.Info, w.slot = info, decode.Slot{}
	if w.announced == eventv1.ProcessEvent_KIND_INSTRUMENTED {
		a.publish(w, w.announced)
	}
}

// left says what is left to an SDK, by the setting and by what it exports.
func left(setting configv1.Instrumentation_Sdk, exports sdk.Signals) eventv1.Yield {
	switch {
	case setting == configv1.Instrumentation_SDK_OFF, exports == 0:
	case setting == configv1.Instrumentation_SDK_ALL:
		return eventv1.Yield_YIELD_ALL
	case exports&sdk.Traces != 0:
		return eventv1.Yield_YIELD_SPANS
	}
	return eventv1.Yield_YIELD_UNSPECIFIED
}
