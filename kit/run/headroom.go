// SPDX-License-Identifier: Apache-2.0

package run

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Headroom lets the heap of a process grow by about so many bytes between two garbage collections, or by its own size if that is
// more. A service that holds little and moves much would collect several times a second with Go's default, a tenth of its work.
// A GOGC in the environment stays in force.
func Headroom(bytes uint64) {
	if was := debug.SetGCPercent(100); was != 100 {
		debug.SetGCPercent(was)
		return
	}
	adjust(bytes)
}

// adjust sets the percentage for the next collection, and has itself called after that.
func adjust(bytes uint64) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(percent(live[0].Value.Uint64(), bytes))
	runtime.AddCleanup(new([1]*byte), adjust, bytes) // nothing refers to it, so the next collection finds it
}

// percent is how much of itself a heap may grow by.
func percent(live, headroom uint64) int {
	const least = 1 << 20                               // bytes: a process that has just begun
	return int(max(100, headroom*100/max(live, least))) //nolint:gosec // at most a hundredth of the headroom
}
