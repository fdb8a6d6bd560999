// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"

	"github.com/busbar/busbar/services/probe/internal/goexe/goexetest"
)

// TestHookedMeanwhile hooks a program one function after the other while it has exchanges on connections old and new, in every order:
// what is seen of a connection that was found in the middle may lack its first exchanges, and is right otherwise; of one that began
// afterwards all is seen. User space has not told where goroutines are: it may be slower than the program.
func TestHookedMeanwhile(t *testing.T) {
	if features.HaveProgramHelper(ebpf.Kprobe, asm.FnGetAttachCookie) != nil {
		t.Skip("kernels before 5.15 do not tell which file a hook is in")
	}
	file := goexetest.Build(t, "go", "testdata/relay", []string{"CGO_ENABLED=0"}, "-ldflags=-s -w")
	eachTier(t, func(t *testing.T, tier string) {
		_, funcs := goFuncs(t, file)
		hooks := funcs.hooks()
		backwards := slices.Clone(hooks)
		slices.Reverse(backwards)
		for name, order := range map[string][]goHook{"reads first": hooks, "writes first": backwards} {
			t.Run(name, func(t *testing.T) { hookedMeanwhile(t, tier, file, order) })
		}
	})
}

func hookedMeanwhile(t *testing.T, tier, file string, hooks []goHook) {
	const each, after, unseen = 3, 6, 2
	k, r := start(t, Options{Tier: tier})
	if err := k.Decide(uint32(os.Getpid()), Verdict{}); err != nil {
		t.Fatal(err)
	}
	flag := fmt.Sprintf("-tls=%d", tls.VersionTLS13)
	back, backPID := run(t, file, flag)
	front, frontPID := run(t, file, flag, "https://"+back)
	for _, pid := range []uint32{backPID, frontPID} {
		if err := k.Decide(pid, Verdict{Observe: true}); err != nil {
			t.Fatal(err)
		}
	}
	var clients []*http.Client
	path := 0
	talk := func(client *http.Client, n int) {
		for range n {
			path++
			res, err := client.Get(fmt.Sprintf("https://%s/direct/%d", front, path))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, res.Body)
			_ = res.Body.Close()
		}
	}
	open := func() *http.Client {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		t.Cleanup(c.CloseIdleConnections)
		clients = append(clients, c)
		return c
	}
	talk(open(), each)
	hooked, err := k.openFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := hooked.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, h := range hooks {
		if err := hooked.hook(k.programs[h.program], h.program, h.at, false); err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			talk(c, each)
		}
		talk(open(), each)
	}
	if err := hooked.begin(); err != nil {
		t.Fatal(err)
	}
	late := path + 1
	for _, c := range clients {
		talk(c, after)
	}
	old := path
	talk(open(), after)
	frontAddr, backAddr := netip.MustParseAddrPort(front), netip.MustParseAddrPort(back)
	for _, side := range []struct {
		role  Role
		where netip.AddrPort
		calls int
	}{{Server, frontAddr, 1}, {Client, backAddr, 2}, {Server, backAddr, 2}} {
		connections := len(clients)
		if side.where == backAddr {
			connections = 2 // the first, which is kept alive, and its end
		}
		got := r.wait(t, side.role, ends{side.where}, side.calls*(path-late+1)-unseen*connections)
		byConnection := map[ends][]seen{}
		for _, e := range got {
			var n int
			if _, err := fmt.Sscanf(strings.Fields(e.request)[1], "/direct/%d", &n); err != nil || n < late || e.Flags != Keyed || e.Status != 200 || e.TLS != GoTLS {
				t.Errorf("of %d to %d: %q: %+v", late, path, e.request, e.Exchange)
			}
			c := ends{e.Local(), e.Remote()}
			byConnection[c] = append(byConnection[c], e)
		}
		for _, all := range byConnection {
			slices.SortFunc(all, func(a, b seen) int { return cmp.Compare(a.RequestStart, b.RequestStart) })
			for i := 1; i < len(all); i++ {
				if all[i].RequestStart < all[i-1].ResponseEnd {
					t.Errorf("%q has a response that ended after the next request began", all[i-1].request)
				}
			}
		}
	}
	for n := old + 1; n <= path; n++ {
		until(t, func() bool {
			return slices.ContainsFunc(r.on(Server, ends{frontAddr}), func(e seen) bool { return strings.Contains(e.request, fmt.Sprintf("/direct/%d ", n)) })
		}, func() { t.Errorf("/direct/%d is missing", n) })
	}
}
