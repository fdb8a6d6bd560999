// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/busbar/busbar/services/probe/internal/goexe/goexetest"
)

// TestTakenWindows has windows taken on every CPU, as by programs that were preempted: an exchange goes on in those that are left, and
// nothing is written to the others. With all of them taken its bytes are not looked at, which is counted.
func TestTakenWindows(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		windows := k.maps["windows"]
		last := windows.MaxEntries() - 1
		fill := func(number uint32, content byte, users uint32) {
			t.Helper()
			var each [][]byte
			if err := windows.Lookup(number, &each); err != nil {
				t.Fatal(err)
			}
			for _, w := range each {
				for i := range w {
					w[i] = content
				}
				binary.NativeEndian.PutUint32(w[len(w)-8:], users)
			}
			if err := windows.Put(number, each); err != nil {
				t.Fatal(err)
			}
		}
		exchange := func(client, server net.Conn) {
			t.Helper()
			conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
		}
		for number := range last {
			fill(number, '#', 1)
		}
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		exchange(client, server)
		want := []told{sent(get, 200, hello, 0)}
		for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
			checkHalves(t, role, r.wait(t, role, of(conn), 1), want)
		}
		for number := range last {
			var each [][]byte
			if err := windows.Lookup(number, &each); err != nil {
				t.Fatal(err)
			}
			for cpu, w := range each {
				if w[100] != '#' || binary.NativeEndian.Uint32(w[len(w)-8:]) != 1 {
					t.Errorf("window %d of CPU %d was used", number, cpu)
				}
			}
		}
		fill(last, '#', 1)
		blind, other := pipe(t, "tcp", "127.0.0.1:0")
		exchange(blind, other)
		if k.Blemishes()["window"] == 0 {
			t.Error("not counted")
		}
		for number := range last + 1 {
			fill(number, 0, 0)
		}
		client, server = pipe(t, "tcp", "127.0.0.1:0")
		exchange(client, server)
		for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
			checkHalves(t, role, r.wait(t, role, of(conn), 1), want)
		}
		if n := r.total(); n != 4 {
			t.Errorf("%d exchanges, want 4: %+v", n, r.exchanges)
		}
	})
}

// TestPreempted has many processes do TLS on one CPU at the same time: each request is one that was sent to the process it is reported
// of. Where the kernel preempts programs (CONFIG_PREEMPT, preempt=full) it happens in the midst of looking at a request.
func TestPreempted(t *testing.T) {
	const processes, workers, rounds = 4, 4, 60
	file := goexetest.Build(t, "go", "testdata/relay", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
	k, r := start(t, Options{})
	if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil {
		t.Fatal(err)
	}
	_, funcs := goFuncs(t, file)
	hooks, err := k.HookGo(file, funcs)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hooks.Close(); err != nil {
			t.Error(err)
		}
	})
	var all sync.WaitGroup
	servers := map[netip.AddrPort]string{}
	for p := range processes {
		address, pid := run(t, "taskset", "-c", "0", file, fmt.Sprintf("-tls=%d", tls.VersionTLS13))
		if err := k.Decide(pid, Verdict{Observe: true}); err != nil {
			t.Fatal(err)
		}
		mark := strings.Repeat(string(rune('a'+p)), 200)
		servers[netip.MustParseAddrPort(address)] = mark
		for range workers {
			all.Go(func() {
				client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
				defer client.CloseIdleConnections()
				for range rounds {
					res, err := client.Post(fmt.Sprintf("https://%s/%s", address, mark), "text/plain", strings.NewReader(mark))
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
			})
		}
	}
	all.Wait()
	whole := k.Drops()[missedRuns] == 0 // else the kernel has passed over a program of the tier that it had preempted
	for address, mark := range servers {
		if whole {
			r.wait(t, Server, ends{address}, workers*rounds)
		}
		for _, e := range r.on(Server, ends{address}) {
			if !strings.HasPrefix(e.request, "POST /"+mark+" HTTP/1.1\r\n") || e.Status != 200 || whole && e.Flags != Keyed {
				t.Errorf("of process %c: %q: %+v", mark[0], e.request, e.Exchange)
			}
		}
		t.Logf("%d of %d exchanges of process %c", len(r.on(Server, ends{address})), workers*rounds, mark[0])
	}
}
