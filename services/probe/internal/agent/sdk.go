// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"google.golang.org/protobuf/proto"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/decode"
	"github.com/busbar/busbar/services/probe/internal/kern"
	"github.com/busbar/busbar/services/probe/internal/sdk"
)

// notice looks whether the exchange that was just added is one by which a process exports telemetry itself.
func (a *Agent) notice(w *watched, e *kern.Exchange) {
	if e.Role != kern.Client {
		return
	}
	if found := w.process.SDK.Seen(a.batch.Last(), e.Remote().Addr()) &^ w.exports; found != 0 {
		w.exports |= found
		a.yield(w)
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
