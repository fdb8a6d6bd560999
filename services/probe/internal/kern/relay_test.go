// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A relayed is a server under test that makes requests of its own for those it gets: /way/id/n for /way/id.
type relayed struct {
	*recorder
	pid    uint32
	base   string
	client *http.Client
	round  int
	asked  atomic.Pointer[sync.Map] // paths of the requests that arrived upstream
}

func startRelay(t *testing.T, k *Kern, r *recorder, program, script string) *relayed {
	t.Helper()
	s := &relayed{recorder: r, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}}
	s.asked.Store(&sync.Map{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Load().Store(r.URL.Path, true)
		_, _ = io.WriteString(w, "here you are")
	}))
	_, port, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	cmd := exec.CommandContext(t.Context(), program, script, port)
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil || errIn != nil || errOut != nil {
		t.Fatal(err, errIn, errOut)
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_, _ = in.Close(), cmd.Wait()
		upstream.Close()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	s.pid, s.base = uint32(cmd.Process.Pid), "http://127.0.0.1:"+strings.TrimSpace(line)
	if err := k.Decide(s.pid, Verdict{Observe: true, Threads: true}); err != nil {
		t.Fatal(err)
	}
	return s
}

// ask makes requests, so many at a time, and counts those that the server made for them: with the right parent, with none,
// with a wrong one.
func (s *relayed) ask(t *testing.T, way string, requests, together int) (right, none, wrong int) {
	t.Helper()
	s.round++
	s.asked.Store(&sync.Map{})
	var all sync.WaitGroup
	slots := make(chan bool, together)
	for i := range requests {
		slots <- true
		all.Go(func() {
			defer func() { <-slots }()
			res, err := s.client.Get(fmt.Sprintf("%s/%s/%d.%d", s.base, way, s.round, i))
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		})
	}
	all.Wait()
	return s.settle(t, fmt.Sprintf("%s/%d.", way, s.round))
}

// settle counts the requests the server made whose paths begin so, when all those that arrived upstream are there.
func (s *relayed) settle(t *testing.T, way string) (right, none, wrong int) {
	t.Helper()
	var served, made map[string]seen
	until(t, func() bool {
		served, made = s.paths(Server), s.paths(Client)
		complete := true
		s.asked.Load().Range(func(path, _ any) bool {
			_, isMade := made[path.(string)]
			_, isServed := served[parentPath(path.(string))]
			complete = isMade && (isServed || strings.HasPrefix(path.(string), "/background"))
			return complete
		})
		return complete
	}, func() { t.Errorf("not all requests were recorded") })
	for path, e := range made {
		if !strings.HasPrefix(path, "/"+way) {
			continue
		}
		parent, ok := served[parentPath(path)]
		switch {
		case e.Context == ContextRoot && e.ParentSpanID == [8]byte{}:
			none++
		case (e.Context == ContextTick || e.Context == ContextThread) && ok && e.ParentSpanID == parent.SpanID && e.TraceID == parent.TraceID:
			right++
		default:
			wrong++
		}
	}
	return right, none, wrong
}

// paths returns the exchanges of the server in one role by path.
func (s *relayed) paths(role Role) map[string]seen {
	found := map[string]seen{}
	for _, e := range s.on(role, ends{}) {
		if _, rest, ok := strings.Cut(e.request, " "); ok && e.TGID == s.pid {
			path, _, _ := strings.Cut(rest, " ")
			found[path] = e
		}
	}
	return found
}

// parentPath returns the path of the request that one was made for.
func parentPath(path string) string { return path[:strings.LastIndex(path, "/")] }
