// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/busbar/busbar/kit/bus/bustest"
)

// Resources that change under load lose no record and send none twice: pipelines, the address, name and queue of destinations,
// destinations that come and go, and changes that are refused.
func TestLiveChange(t *testing.T) {
	t.Parallel()
	all, other, first, second := newReceiver(t), newReceiver(t), newReceiver(t), newReceiver(t)
	version := func(moving, pipeline string) string {
		return destinationOf("all", all, "") + pipelineOf("all", "to: [all]") + moving + pipeline
	}
	f := startFlow(t, version("", ""))
	bustest.Eventually(t, "the flow runs", func() bool { f.publish(t, "warm", "up"); return all.has(1)() })

	stop, loaded := make(chan struct{}), new(sync.WaitGroup)
	var sent int
	loaded.Go(func() { // two thousand messages a second
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				var some sync.WaitGroup
				for range 20 {
					name := fmt.Sprint(sent)
					sent++
					some.Go(func() { f.publish(t, "shop", name) })
				}
				some.Wait()
			case <-stop:
				return
			}
		}
	})
	end := sync.OnceFunc(func() { close(stop); loaded.Wait() })
	defer end()
	took := func(what string, by *receiver) {
		t.Helper()
		n, _ := by.spans()
		bustest.Eventually(t, what, func() bool { now, _ := by.spans(); return now > n+100 })
	}
	to := func(pipeline string) string { return pipelineOf("moving", "to: ["+pipeline+"]") }
	for _, step := range []struct {
		what, resources string
		by              *receiver
	}{
		{"a new destination", version(destinationOf("moving", first, ""), to("moving")), first},
		{"another queue", version(destinationOf("moving", first, ", queue: {maxBytes: 64MiB, concurrency: 3}"), to("moving")), first},
		{"another address", version(destinationOf("moving", second, ""), to("moving")), second},
		{"a bad pipeline", version(destinationOf("moving", second, ""), pipelineOf("moving", "to: [moving], steps: [{filter: 'span.nme'}]")), second},
		{"a bad destination", version(destinationOf("moving", first, ", queue: {maxBytes: 1}"), to("moving")), second},
		{"a pipeline with steps", version(destinationOf("moving", second, ""), pipelineOf("moving", `to: [moving], signals: [traces], steps: [{transform: 'set(span.attributes["step"], "1")'}]`)), second},
		{"another name", version(destinationOf("renamed", first, ""), to("renamed")), first},
		{"one more destination", version(destinationOf("renamed", first, "")+destinationOf("other", other, ""), to("renamed, other")), other},
		{"one less", version(destinationOf("other", other, ""), to("other")), other},
	} {
		f.declare(t, step.resources)
		took(step.what, step.by)
	}
	end()
	bustest.Eventually(t, "everything arrived", func() bool { n, _ := all.spans(); return n == sent+1 })
	for _, name := range []string{"moving", "renamed"} {
		stream := testRoot.OutStream(name).Name
		bustest.Eventually(t, name+" is drained", func() bool { return f.server.Pending(t, stream, exporters) <= 0 })
	}
	bustest.Eventually(t, "the last one is drained", func() bool { return f.server.Pending(t, testRoot.OutStream("other").Name, exporters) == 0 })
	for _, r := range []*receiver{all, other} {
		if distinct, total := r.spans(); distinct != total {
			t.Errorf("%d spans came %d times", distinct, total)
		}
	}
	moved := map[string]int{}
	for _, r := range []*receiver{first, second} {
		for name, n := range r.got {
			moved[name] += n
		}
	}
	for name, n := range moved {
		if n != 1 {
			t.Errorf("span %s came %d times", name, n)
		}
	}
	maps.Copy(moved, other.got)
	begun := sent
	for name := range moved {
		n, _ := strconv.Atoi(name)
		begun = min(begun, n)
	}
	missing := 0
	for n := begun + underWay; n < sent; n++ { // of those under way at the first change, some were routed before it
		if moved[strconv.Itoa(n)] == 0 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of %d spans are missing", missing, sent-begun)
	}
}

// underWay is how many messages may be between the first and the last one that is being routed.
const underWay = 1000
