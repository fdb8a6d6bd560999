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

	symbols "github.com/busbar/busbar/services/probe/internal/hook"
)

// TestTicks asks a Node.js server that makes requests of its own in every way there is (testdata/loop.js): one at a time, and 50
// at a time. Each of them must be the child of the request that it was made for or of none, and those made at once when a
// request comes in, or when the answer to the only one's does, must have their parent.
func TestTicks(t *testing.T) {
	ways := []struct {
		name         string
		alone, crowd int // requests that are certain to have their parent, of each that comes in
	}{
		{"chain", 3, 1},
		{"all", 3, 3},
		{"after", 3, 1},
		{"fresh", 2, 1},
		{"few", 2, 0},
		{"one", 1, 0},
		{"fetch", 2, 1},
		{"timeout", 0, 0},
		{"immediate", 0, 0},
		{"lookup", 0, 0},
		{"shared", 2, 0},
	}
	const requests = 100
	eachTier(t, func(t *testing.T, tier string) {
		s := startLoop(t, tier)
		for _, way := range ways {
			t.Run(way.name, func(t *testing.T) {
				right, none, wrong := s.ask(t, way.name, requests, 1)
				if t.Logf("alone: %d right, %d without a parent, %d wrong", right, none, wrong); wrong > 0 || right < requests*way.alone {
					t.Errorf("of each request's own ones %d must have their parent, and none another", way.alone)
				}
				right, none, wrong = s.ask(t, way.name, requests, 50)
				if t.Logf("50 at a time: %d right, %d without a parent, %d wrong", right, none, wrong); wrong > 0 || right < requests*way.crowd {
					t.Errorf("of each request's own ones %d must have their parent, and none another", way.crowd)
				}
			})
		}
		if right, none, wrong := s.settle(t, "background"); right+wrong > 0 || none == 0 {
			t.Errorf("what a timer asks for: %d have no parent, %d have", none, right+wrong)
		}
	})
}

// loopServer is testdata/loop.js with what it asks.
type loopServer struct {
	*recorder
	pid    uint32
	base   string
	client *http.Client
	round  int
	asked  atomic.Pointer[sync.Map] // path that the upstream saw -> true
}

func startLoop(t *testing.T, tier string) *loopServer {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip(err)
	}
	k, r := start(t, Options{Tier: tier})
	found, err := symbols.Functions(node, []string{LoopFunction})
	if err != nil || found[LoopFunction] == 0 {
		t.Fatal(found, err)
	}
	loop, err := k.HookLoop(node, found[LoopFunction])
	if err != nil {
		t.Fatal(err)
	}
	s := &loopServer{recorder: r, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 50}}}
	s.asked.Store(&sync.Map{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Load().Store(r.URL.Path, true)
		_, _ = io.WriteString(w, "here you are")
	}))
	_, port, _ := net.SplitHostPort(upstream.Listener.Addr().String())
	cmd := exec.CommandContext(t.Context(), node, "testdata/loop.js", port)
	in, errIn := cmd.StdinPipe()
	out, errOut := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil || errIn != nil || errOut != nil {
		t.Fatal(err, errIn, errOut)
	}
	t.Cleanup(func() {
		s.client.CloseIdleConnections()
		_, _ = in.Close(), cmd.Wait()
		upstream.Close()
		_ = loop.Close()
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

// ask makes requests, so many at a time, and counts what became of those the server made for them.
func (s *loopServer) ask(t *testing.T, way string, requests, together int) (right, none, wrong int) {
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
func (s *loopServer) settle(t *testing.T, way string) (right, none, wrong int) {
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
func (s *loopServer) paths(role Role) map[string]seen {
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
