// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/goexe"
	"github.com/busbar/busbar/services/probe/internal/goexe/goexetest"
)

// relay runs testdata/relay in front of a server and has it observed. It returns its URL.
func relay(t *testing.T, k *Kern, upstream, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := goexe.Read(f)
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := k.HookGo(file, GoFuncs{RoundTrip: p.Funcs[goexe.RoundTrip].Entry})
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(file, upstream)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
		if err := hooks.Close(); err != nil {
			t.Error(err)
		}
	})
	goroutines, err := p.In(fmt.Sprintf("/proc/%d", c.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Decide(uint32(c.Process.Pid), Verdict{Observe: true, Goroutines: Goroutines{
		ID: p.Offsets.Goid, Parent: p.Offsets.ParentGoid, P: p.Offsets.P, Cache: p.Offsets.GoidCache, Counter: goroutines,
	}}); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + strings.TrimSpace(line)
}

// TestGoroutines runs servers built by every version of Go that is here, which make requests while they serve some: each request is
// the child of the one it was made for, or, where that cannot be told, of none; never of another one.
func TestGoroutines(t *testing.T) {
	for version, command := range goexetest.Toolchains(t) {
		file := goexetest.Build(t, command, "testdata/relay", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
		t.Run(version, func(t *testing.T) {
			eachTier(t, func(t *testing.T, tier string) { goroutines(t, tier, file, version >= "1.21") })
		})
	}
}

// calls is how many requests each kind of request causes.
var calls = map[string]int{"direct": 2, "spawn": 1, "group": 3, "after": 3, "leave": 1, "next": 1}

func goroutines(t *testing.T, tier, file string, parents bool) {
	const workers, rounds = 50, 6
	k, r := start(t, Options{Tier: tier})
	upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer upstream.Close()
	front := relay(t, k, upstream.URL, file)
	if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil {
		t.Fatal(err)
	}
	order := []string{"direct", "spawn", "leave", "next", "group", "after"}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for i := range rounds * len(order) {
				res, err := client.Get(fmt.Sprintf("%s/%s/%d-%d", front, order[i%len(order)], w, i))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
		})
	}
	all.Wait()
	want := 0
	for _, how := range order {
		want += calls[how] * workers * rounds
	}
	served := map[string]seen{} // by path
	for _, e := range r.wait(t, Server, ends{}, workers*rounds*len(order)) {
		served[strings.Fields(e.request)[1]] = e
	}
	right, none := map[string]int{}, map[string]int{}
	for _, e := range r.wait(t, Client, ends{}, want) {
		path := strings.Fields(e.request)[1]
		by := served[path[:strings.LastIndexByte(path, '/')]]
		how := strings.Split(path, "/")[1]
		switch {
		case e.Context == ContextTask && e.ParentSpanID == by.SpanID && e.TraceID == by.TraceID:
			right[how]++
		case e.Context == ContextRoot && e.ParentSpanID == [8]byte{}:
			none[how]++
		default:
			t.Errorf("%s: context %d, parent %x, its server's is %x", path, e.Context, e.ParentSpanID, by.SpanID)
		}
	}
	t.Logf("right %v, none %v", right, none)
	for how, total := range calls {
		least := total * workers * rounds // what the handler's own goroutine asks for is certain
		switch {
		case how == "leave":
			continue
		case how != "direct" && how != "next" && !parents:
			continue
		case how != "direct" && how != "next":
			least = least * 9 / 10 // the scheduler may have moved the handler between two processors
		}
		if right[how] < least {
			t.Errorf("%s: %d of %d requests have no parent", how, none[how], none[how]+right[how])
		}
	}
	for reason, n := range k.Drops() {
		if n > 0 {
			t.Errorf("%d dropped: %s", n, reason)
		}
	}
}
