// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestTraceThroughThreads: a request passes a server that makes a request of its own on the thread that serves it. Its
// four halves make one trace: each is the child of the one before, though nobody sent a header. When a header comes in,
// the trace is that of the header.
func TestTraceThroughThreads(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	allInOne(t, "--otlp", "http://"+b.http)
	upstream, front := freeAddress(t), freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=upstream"}, "goserver", "-listen", upstream)
	start(t, []string{"OTEL_SERVICE_NAME=front"}, "python3", "testdata/relay.py", front, upstream)
	for _, a := range []string{upstream, front} {
		wait(t, 30*time.Second, "the servers to listen", func() bool { return dials(a) })
	}
	const requests = 40
	const given = "0af7651916cd43dd8448eb211c80319c"
	var together sync.WaitGroup
	for i := range requests {
		together.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s/trace/%d", front, i), nil)
			if err != nil {
				t.Error(err)
				return
			}
			if i%2 == 1 {
				req.Header.Set("Traceparent", "00-"+given+"-b7ad6b7169203331-01")
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
		})
	}
	together.Wait()
	traces := map[string][4]span{} // by path: client, front's server, front's client, upstream's server
	collect := func() bool {
		spans, _, _ := b.received()
		for _, s := range spans {
			p := path(s)
			four := traces[p]
			switch {
			case s.service == "front" && s.kind == "Server":
				four[1] = s
			case s.service == "front":
				four[2] = s
			case s.service == "upstream":
				four[3] = s
			default:
				four[0] = s
			}
			traces[p] = four
		}
		for i := range requests {
			for _, s := range traces[fmt.Sprintf("/trace/%d", i)] {
				if s.id == "" {
					return false
				}
			}
		}
		return true
	}
	wait(t, 30*time.Second, "four spans of every request", collect)
	for i := range requests {
		four := traces[fmt.Sprintf("/trace/%d", i)]
		for j := 1; j < 4; j++ {
			if four[j].trace != four[0].trace || four[j].parent != four[j-1].id {
				t.Errorf("request %d: span %d is in trace %s under %s; the one before it is %s of trace %s",
					i, j, four[j].trace, four[j].parent, four[j-1].id, four[0].trace)
			}
		}
		if hasHeader := i%2 == 1; (four[0].trace == given) != hasHeader || (four[0].parent == "b7ad6b7169203331") != hasHeader {
			t.Errorf("request %d with header %v is trace %s under %q", i, hasHeader, four[0].trace, four[0].parent)
		}
	}
}

// TestTraceThroughGoroutines: the same where a server in Go makes the request, which nobody's thread does: each request is the child of
// the one during which it was made.
func TestTraceThroughGoroutines(t *testing.T) {
	needRoot(t)
	b := newBackend(t)
	allInOne(t, "--otlp", "http://"+b.http)
	upstream, front := freeAddress(t), freeAddress(t)
	start(t, []string{"OTEL_SERVICE_NAME=upstream"}, "goserver", "-listen", upstream)
	start(t, []string{"OTEL_SERVICE_NAME=front"}, "goserver", "-listen", front, "-forward", "http://"+upstream+"/up")
	for _, a := range []string{upstream, front} {
		wait(t, 30*time.Second, "the servers to listen", func() bool { return dials(a) })
	}
	const requests = 40
	var together sync.WaitGroup
	for i := range requests {
		together.Go(func() {
			res, err := http.Get(fmt.Sprintf("http://%s/trace/%d", front, i))
			if err != nil {
				t.Error(err)
				return
			}
			_ = res.Body.Close()
		})
	}
	together.Wait()
	var served, made, answered map[string]span // by id, by parent, by parent
	wait(t, 30*time.Second, "three spans of every request", func() bool {
		served, made, answered = map[string]span{}, map[string]span{}, map[string]span{}
		spans, _, _ := b.received()
		for _, s := range spans {
			switch {
			case s.service == "front" && s.kind == "Server":
				served[s.id] = s
			case s.service == "front":
				made[s.parent] = s
			case s.service == "upstream":
				answered[s.parent] = s
			}
		}
		return len(served) == requests && len(made) == requests && len(answered) == requests
	})
	for id, s := range served {
		if c, a := made[id], answered[made[id].id]; c.trace != s.trace || a.trace != s.trace {
			t.Errorf("%s is in trace %s, its request in %s, which was answered in %s", path(s), s.trace, c.trace, a.trace)
		}
	}
}
