// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"strings"
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
// the one during which it was made. The probe needs a moment with a new program; until then its requests have no parent.
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
	get := func(path string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front+path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		_ = res.Body.Close()
	}
	// joined counts the requests to front under a path whose call of upstream is in their trace, at every step the child of the last.
	joined := func(prefix string) (n int) {
		spans, _, _ := b.received()
		byParent := map[string]span{}
		for _, s := range spans {
			byParent[s.service+s.kind+s.parent] = s
		}
		for _, s := range spans {
			if s.service == "front" && s.kind == "Server" && strings.HasPrefix(path(s), prefix) {
				call := byParent["frontClient"+s.id]
				if answer := byParent["upstreamServer"+call.id]; call.id != "" && call.trace == s.trace && answer.trace == s.trace {
					n++
				}
			}
		}
		return n
	}
	wait(t, time.Minute, "the first request that is followed", func() bool {
		get("/warm")
		return joined("/warm") > 0
	})
	const requests = 40
	var together sync.WaitGroup
	for i := range requests {
		together.Go(func() { get(fmt.Sprintf("/trace/%d", i)) })
	}
	together.Wait()
	wait(t, 30*time.Second, "every request in one trace", func() bool { return joined("/trace/") == requests })
}
