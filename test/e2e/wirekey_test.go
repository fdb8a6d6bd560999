// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

// TestWireKeyThroughAddressTranslation puts a client and a server in network namespaces of their own, with a router
// between them that rewrites both addresses, and finds the same wire key on both halves of every exchange, and none on
// two exchanges.
func TestWireKeyThroughAddressTranslation(t *testing.T) {
	needRoot(t)
	s := allInOne(t)
	raw := listenRaw(t, s.nats)
	n := newTranslatedNetwork(t)

	startIn(t, n.server, "goserver", "-listen", n.serverAddress+":8080")
	wait(t, 30*time.Second, "the server to listen", func() bool {
		return exec.CommandContext(t.Context(), "ip", "netns", "exec", n.client, "curl", "-s", "-m", "2", "-o", "/dev/null", "http://"+n.frontAddress+":80/warm-up").Run() == nil
	})
	const requests = 300
	var in strings.Builder
	for i := range requests {
		fmt.Fprintf(&in, `{"method":"GET","url":"http://%s:80/key/%d","keepalive":%v}`+"\n", n.frontAddress, i, i%3 != 0)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", n.client, filepath.Join(bin, "goclient"))
	cmd.Stdin = strings.NewReader(in.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("client: %v\n%s", err, out)
	}
	wait(t, 30*time.Second, "both halves of every exchange", func() bool {
		c, s := raw.halves("/key/")
		return len(c) >= requests && len(s) >= requests
	})
	clients, servers := raw.halves("/key/")
	if len(clients) != requests || len(servers) != requests {
		t.Fatalf("%d client halves and %d server halves of %d exchanges", len(clients), len(servers), requests)
	}
	seen := map[string]string{}
	for path, c := range clients {
		s := servers[path]
		if c.key != s.key || c.key == "" {
			t.Errorf("%s: the client's key is %q, the server's %q", path, c.key, s.key)
		}
		if c.peer == s.local {
			t.Errorf("%s: both sides name %v: no address was translated", path, c.peer)
		}
		if other, ok := seen[c.key]; ok {
			t.Errorf("%s and %s have the same key %s", path, other, c.key)
		}
		seen[c.key] = path
	}
}

// rawHalf is one side of an exchange as the probe published it.
type rawHalf struct {
	key         string
	local, peer netip.Addr
	library     eventv1.TlsLibrary
}

// rawTap collects what probes publish.
type rawTap struct {
	mu               sync.Mutex
	clients, servers map[string]rawHalf
	twice            []string
}

func listenRaw(t *testing.T, url string) *rawTap {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Config{URL: url, Name: "test"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tap := &rawTap{clients: map[string]rawHalf{}, servers: map[string]rawHalf{}}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		if err := b.Subscribe(ctx, string(subject.DefaultRoot)+".raw.exchange.>", tap.take); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); b.Close() })
	return tap
}

func (r *rawTap) take(d *bus.Delivery) {
	data, err := d.Data()
	if err != nil {
		return
	}
	var batch eventv1.ExchangeBatch
	if err := batch.UnmarshalVT(data); err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range batch.GetExchanges() {
		if e.GetHttp() == nil {
			continue
		}
		h := rawHalf{local: address(&batch, e.GetLocalAddress()), peer: address(&batch, e.GetPeerAddress()), library: e.GetTlsLibrary()}
		if k := e.GetWireKey(); k != nil {
			h.key = fmt.Sprintf("%08x-%08x-%08x", k.GetOpenerIsn(), k.GetAcceptorIsn(), k.GetRequestSeq())
		}
		side := r.servers
		if e.GetRole() == eventv1.Role_ROLE_CLIENT {
			side = r.clients
		}
		path := e.GetHttp().GetPath()
		if _, ok := side[path]; ok {
			r.twice = append(r.twice, path)
		}
		side[path] = h
	}
}

func address(b *eventv1.ExchangeBatch, i uint32) netip.Addr {
	if int(i) >= len(b.GetAddresses()) {
		return netip.Addr{}
	}
	a, _ := netip.AddrFromSlice(b.GetAddresses()[i])
	return a.Unmap()
}

// halves returns the halves of exchanges whose path begins so.
func (r *rawTap) halves(prefix string) (clients, servers map[string]rawHalf) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pick := func(all map[string]rawHalf) map[string]rawHalf {
		some := map[string]rawHalf{}
		for path, h := range all {
			if strings.HasPrefix(path, prefix) {
				some[path] = h
			}
		}
		return some
	}
	return pick(r.clients), pick(r.servers)
}

// translatedNetwork is a client and a server namespace with a router namespace between them. The client speaks to
// frontAddress, an address of the router, which sends it on to the server (DNAT) in its own name (SNAT).
type translatedNetwork struct {
	client, server, router      string
	frontAddress, serverAddress string
}

func newTranslatedNetwork(t *testing.T) translatedNetwork {
	t.Helper()
	id := fmt.Sprintf("bb%d", os.Getpid()%100000)
	n := translatedNetwork{
		client: id + "c", server: id + "s", router: id + "r",
		frontAddress: "10.231.1.1", serverAddress: "10.231.2.2",
	}
	t.Cleanup(func() {
		for _, ns := range []string{n.client, n.server, n.router} {
			_ = exec.Command("ip", "netns", "del", ns).Run() //nolint:noctx // Runs after the test's context.
		}
	})
	commands := `
ip netns add CLIENT
ip netns add SERVER
ip netns add ROUTER
ip link add IDc0 netns CLIENT type veth peer name IDr1 netns ROUTER
ip link add IDs0 netns SERVER type veth peer name IDr2 netns ROUTER
ip -n CLIENT addr add 10.231.1.2/24 dev IDc0
ip -n ROUTER addr add 10.231.1.1/24 dev IDr1
ip -n ROUTER addr add 10.231.2.1/24 dev IDr2
ip -n SERVER addr add 10.231.2.2/24 dev IDs0
ip -n CLIENT link set lo up
ip -n SERVER link set lo up
ip -n CLIENT link set IDc0 up
ip -n ROUTER link set IDr1 up
ip -n ROUTER link set IDr2 up
ip -n SERVER link set IDs0 up
ip netns exec ROUTER sysctl -q -w net.ipv4.ip_forward=1
ip netns exec ROUTER nft add table ip busbar
ip netns exec ROUTER nft add chain ip busbar pre { type nat hook prerouting priority dstnat ; }
ip netns exec ROUTER nft add chain ip busbar post { type nat hook postrouting priority srcnat ; }
ip netns exec ROUTER nft add rule ip busbar pre tcp dport 80 dnat to 10.231.2.2:8080
ip netns exec ROUTER nft add rule ip busbar post ip daddr 10.231.2.2 masquerade`
	names := strings.NewReplacer("CLIENT", n.client, "SERVER", n.server, "ROUTER", n.router, "ID", id)
	for line := range strings.Lines(strings.TrimSpace(commands)) {
		args := strings.Fields(names.Replace(line))
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return n
}

// startIn runs a program of this tree in a network namespace. ip replaces itself by it, so signals arrive.
func startIn(t *testing.T, ns, program string, args ...string) {
	t.Helper()
	start(t, nil, "ip", append([]string{"netns", "exec", ns, filepath.Join(bin, program)}, args...)...)
}
