// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestTraceThroughEventLoop: a Node.js server passes on 40 requests at a time, all on one thread. What it asks for belongs to the
// request for which it asks; never to another one, also not before its event loop is hooked.
func TestTraceThroughEventLoop(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	allInOne(t, "--otlp", "http://"+b.http)
	upstream, front := freeAddress(t), freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=upstream"}, "goserver", "-listen", upstream)
	start(t, []string{"OTEL_SERVICE_NAME=front"}, "node", "testdata/relay.mjs", front, upstream)
	for _, a := range []string{upstream, front} {
		wait(t, 30*time.Second, "the servers to listen", func() bool { return dials(a) })
	}
	const requests = 40
	round := 0
	wait(t, time.Minute, "each request through the event loop to be one trace", func() bool {
		round++
		var together sync.WaitGroup
		for i := range requests {
			together.Go(func() {
				res, err := http.Get(fmt.Sprintf("http://%s/round/%d.%d", front, round, i)) //nolint:noctx // Ends with the servers.
				if err != nil {
					t.Error(err)
					return
				}
				_ = res.Body.Close()
			})
		}
		together.Wait()
		served, made := map[string]span{}, map[string]span{}
		wait(t, 30*time.Second, "both spans of every request", func() bool {
			spans, _, _ := b.received()
			for _, s := range spans {
				if s.service == "front" && s.kind == "Server" {
					served[path(s)] = s
				} else if s.service == "front" {
					made[path(s)] = s
				}
			}
			return len(served) >= round*requests && len(made) >= round*requests
		})
		right := 0
		for i := range requests {
			p := fmt.Sprintf("/round/%d.%d", round, i)
			if made[p].parent != "" && (made[p].parent != served[p].id || made[p].trace != served[p].trace) {
				t.Errorf("%s is made for %s of trace %s, and its parent is %s of trace %s", p, served[p].id, served[p].trace, made[p].parent, made[p].trace)
			}
			if made[p].parent == served[p].id {
				right++
			}
		}
		return right == requests
	})
}
