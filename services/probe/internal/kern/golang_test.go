// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/busbar/busbar/services/probe/internal/goexe"
	"github.com/busbar/busbar/services/probe/internal/goexe/goexetest"
)

// relay runs testdata/relay and has it observed. It returns its address.
func relay(t testing.TB, k *Kern, file string, args ...string) string {
	t.Helper()
	address, pid, p := launch(t, k, file, args...)
	counter, err := p.In(fmt.Sprintf("/proc/%d", pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Decide(pid, Verdict{Observe: true, Goroutines: Goroutines{
		ID: p.Offsets.Goid, Parent: p.Offsets.ParentGoid, P: p.Offsets.P, Cache: p.Offsets.GoidCache, Counter: counter,
	}}); err != nil {
		t.Fatal(err)
	}
	return address
}

// launch runs testdata/relay, with its functions hooked. It returns its address and process.
func launch(t testing.TB, k *Kern, file string, args ...string) (address string, pid uint32, p *goexe.Program) {
	t.Helper()
	p, funcs := goFuncs(t, file)
	hooks, err := k.HookGo(file, funcs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hooks.Close(); err != nil {
			t.Error(err)
		}
	})
	address, pid = run(t, file, args...)
	return address, pid, p
}

// goFuncs finds what there is to hook in a program.
func goFuncs(t testing.TB, file string) (*goexe.Program, GoFuncs) {
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
	return p, GoFuncs{
		RoundTrip: p.Funcs[goexe.RoundTrip].Entry, TLSWrite: p.Funcs[goexe.TLSWrite].Entry,
		TLSRead: p.Funcs[goexe.TLSRead].Entry, TLSClose: p.Funcs[goexe.TLSClose].Entry, TLSCopy: p.Funcs[goexe.TLSRead].Copy,
	}
}

// run runs testdata/relay. It returns its address and process.
func run(t testing.TB, file string, args ...string) (address string, pid uint32) {
	t.Helper()
	c := exec.Command(file, args...)
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
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), uint32(c.Process.Pid)
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
	front := "http://" + relay(t, k, file, upstream.URL)
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
			least = least * 3 / 4 // the scheduler may have moved the handler to another processor
		}
		if right[how] < least {
			t.Errorf("%s: %d of %d requests have no parent", how, none[how], none[how]+right[how])
		}
	}
	for reason, n := range k.Drops() {
		if n > 0 && reason != missedRuns { // which may have been another process's
			t.Errorf("%d dropped: %s", n, reason)
		}
	}
}

// TestGoTLS sends requests through a chain of two servers that speak TLS with crypto/tls, built by every version of Go that is here:
// each is seen on both sides, in plaintext, in one trace, and under the same wire key.
func TestGoTLS(t *testing.T) {
	for version, command := range goexetest.Toolchains(t) {
		file := goexetest.Build(t, command, "testdata/relay", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
		for name, number := range map[string]int{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13} {
			t.Run(version+" "+name, func(t *testing.T) {
				eachTier(t, func(t *testing.T, tier string) { goTLS(t, tier, file, number) })
			})
		}
	}
}

func goTLS(t *testing.T, tier, file string, number int) {
	const workers, rounds = 8, 12
	k, r := start(t, Options{Tier: tier})
	if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil {
		t.Fatal(err)
	}
	flag := fmt.Sprintf("-tls=%d", number)
	back := relay(t, k, file, flag)
	front := relay(t, k, file, flag, "https://"+back)
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
			defer client.CloseIdleConnections()
			for i := range rounds {
				body := strings.Repeat("b", 1+i*3000) // several records
				res, err := client.Post(fmt.Sprintf("https://%s/direct/%d-%d", front, w, i), "text/plain", strings.NewReader(body))
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
	backAddr, frontAddr := netip.MustParseAddrPort(back), netip.MustParseAddrPort(front)
	byPath := func(found []seen) map[string]seen {
		m := map[string]seen{}
		for _, e := range found {
			if e.TLS != GoTLS || e.Protocol != HTTP || e.Flags != Keyed || e.Status != 200 {
				t.Errorf("%q: %+v", e.request, e.Exchange)
			}
			if line := strings.Fields(e.request); len(line) > 1 {
				m[line[1]] = e
			}
		}
		return m
	}
	served := byPath(r.wait(t, Server, ends{frontAddr}, workers*rounds))
	made := byPath(r.wait(t, Client, ends{backAddr}, 2*workers*rounds))
	answered := byPath(r.wait(t, Server, ends{backAddr}, 2*workers*rounds))
	for path, a := range made {
		parent, b := served[path[:strings.LastIndexByte(path, '/')]], answered[path]
		if a.Context != ContextTask || a.ParentSpanID != parent.SpanID || a.TraceID != parent.TraceID {
			t.Errorf("%s: context %d, parent %x of trace %x; its server's is %x of %x", path, a.Context, a.ParentSpanID, a.TraceID, parent.SpanID, parent.TraceID)
		}
		if b.Context != ContextHalf || b.ParentSpanID != a.SpanID || b.RequestSeq != a.RequestSeq || b.OpenerISN != a.OpenerISN || b.AcceptorISN != a.AcceptorISN {
			t.Errorf("%s: halves do not match: %+v and %+v", path, a.Exchange, b.Exchange)
		}
		if a.RequestBytes != b.RequestBytes || a.ResponseBytes != b.ResponseBytes || b.RequestBytes != uint64(b.RequestHead) {
			t.Errorf("%s: %d and %d bytes on one side, %d and %d on the other", path, a.RequestBytes, a.ResponseBytes, b.RequestBytes, b.ResponseBytes)
		}
	}
	for path, e := range served {
		var w, i int
		if _, err := fmt.Sscanf(path, "/direct/%d-%d", &w, &i); err != nil || e.RequestBytes != uint64(e.RequestHead)+uint64(1+i*3000) {
			t.Errorf("%s: %d bytes, %d of them head", path, e.RequestBytes, e.RequestHead)
		}
	}
	for reason, n := range k.Drops() {
		if n > 0 && reason != missedRuns { // which may have been another process's
			t.Errorf("%d dropped: %s", n, reason)
		}
	}
}

// BenchmarkGoHooks is what the programs take of a server's time for one request during which it makes two, their traps not counted
// (BenchmarkTrap): without goroutines, and with them.
func BenchmarkGoHooks(b *testing.B) {
	file := goexetest.Build(b, "go", "testdata/relay", []string{"CGO_ENABLED=0"})
	for name, start := range map[string]func(testing.TB, *Kern, string, ...string) string{
		"threads": func(b testing.TB, k *Kern, file string, args ...string) string {
			address, pid, _ := launch(b, k, file, args...)
			if err := k.Decide(pid, Verdict{Observe: true}); err != nil {
				b.Fatal(err)
			}
			return address
		},
		"goroutines": relay,
	} {
		b.Run(name, func(b *testing.B) {
			k := load(b, Options{DefaultIgnore: true})
			stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
			if err != nil {
				b.Fatal(err)
			}
			defer stats.Close()
			upstream := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			defer upstream.Close()
			front := "http://" + start(b, k, file, upstream.URL)
			before := k.runtimes(b)
			for b.Loop() {
				res, err := http.Get(front + "/direct/1")
				if err != nil {
					b.Fatal(err)
				}
				_ = res.Body.Close()
			}
			for name, ns := range k.runtimes(b) {
				if ns > before[name] {
					b.ReportMetric((ns-before[name])/float64(b.N), name+"-ns/op")
				}
			}
		})
	}
}

// runtimes returns how many nanoseconds each program has run.
func (k *Kern) runtimes(b *testing.B) map[string]float64 {
	b.Helper()
	all := map[string]float64{}
	for name, p := range k.programs {
		s, err := p.Stats()
		if err != nil {
			b.Fatal(err)
		}
		all[name] = float64(s.Runtime)
	}
	return all
}
