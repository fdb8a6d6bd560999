// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if tier := os.Getenv(holdRole); tier != "" {
		if err := hold(tier); err != nil {
			panic(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A seen exchange is a record that outlives the call it came with.
type seen struct {
	Exchange
	request, response string
}

// A changed process is the same for a process record.
type changed struct {
	Process
	file, args, env string
}

// recorder is a Sink that keeps everything.
type recorder struct {
	mu        sync.Mutex
	exchanges []seen
	processes []changed
}

func (r *recorder) Exchange(e *Exchange, request, response []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exchanges = append(r.exchanges, seen{*e, string(request), string(response)})
}

func (r *recorder) Process(p *Process, file, args, env []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.processes = append(r.processes, changed{*p, string(file), string(args), string(env)})
}

func (r *recorder) Idle() {}

// ends names a connection by both its addresses, or by one of them.
type ends [2]netip.AddrPort

func of(c net.Conn) ends {
	return ends{c.LocalAddr().(*net.TCPAddr).AddrPort(), c.RemoteAddr().(*net.TCPAddr).AddrPort()}
}

func (e ends) match(x *Exchange) bool {
	for _, addr := range e {
		if addr.IsValid() && x.Local() != addr && x.Remote() != addr {
			return false
		}
	}
	return true
}

// on returns the exchanges of one role on a connection, in the order they ended.
func (r *recorder) on(role Role, where ends) []seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []seen
	for _, e := range r.exchanges {
		if e.Role == role && where.match(&e.Exchange) {
			found = append(found, e)
		}
	}
	return found
}

func (r *recorder) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.exchanges)
}

// wait polls until at least n exchanges of the role are there and returns them. The test ends if they never are.
func (r *recorder) wait(t *testing.T, role Role, where ends, n int) []seen {
	t.Helper()
	var found []seen
	until(t, func() bool {
		found = r.on(role, where)
		return len(found) >= n
	}, func() { t.Fatalf("%d exchanges of role %d on %s, want %d: %+v", len(found), role, where, n, found) })
	return found
}

func until(t *testing.T, done func() bool, otherwise func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			otherwise()
			return
		case <-tick.C:
		}
	}
}

// start loads programs that observe the test itself and nothing else, and reads what they find.
func start(t *testing.T, o Options) (*Kern, *recorder) {
	t.Helper()
	o.DefaultIgnore = true
	k := load(t, o)
	self := uint32(os.Getpid())
	if err := k.Decide(self, Verdict{Observe: true}); err != nil {
		t.Fatal(err)
	}
	r := &recorder{}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	go func() { done <- k.Read(ctx, r) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("read: %v", err)
		}
		if err := k.Decide(self, Verdict{}); err != nil {
			t.Error(err)
		}
	})
	return k, r
}

// kept are the programs that all tests of a tier share if TEST_KEEP is set: in an emulated machine it takes minutes to load them.
var kept = map[string]*Kern{} //nolint:gochecknoglobals // as long as the process

// renew makes kept programs as good as loaded anew: nothing in the ring, nothing counted.
func (k *Kern) renew(t testing.TB) {
	t.Helper()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := k.Read(over, &recorder{}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]uint64, ebpf.MustPossibleCPU())
	for i := range dropReasons() {
		if err := k.maps["drops"].Put(uint32(i), zeros); err != nil { //nolint:gosec // a small index
			t.Fatal(err)
		}
	}
}

// load loads programs until the test ends. It skips the test where the privileges are missing, unless REQUIRE_BPF says that they
// must not be.
func load(t testing.TB, o Options) *Kern {
	t.Helper()
	keep := os.Getenv("TEST_KEEP") != "" && reflect.DeepEqual(o, Options{Tier: o.Tier, DefaultIgnore: true})
	if k := kept[o.Tier]; keep && k != nil {
		k.renew(t)
		return k
	}
	k, err := Load(o)
	if missing := (*MissingError)(nil); errors.As(err, &missing) && os.Getenv("REQUIRE_BPF") == "" {
		t.Skip(err)
	}
	if err != nil {
		if refused := (*LoadError)(nil); errors.As(err, &refused) {
			for _, line := range refused.Log {
				t.Log(line)
			}
		}
		t.Fatal(err)
	}
	if keep {
		kept[o.Tier] = k
		return k
	}
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return k
}

// eachTier runs a test once per tier, or for the tier REQUIRE_TIER alone. Another one whose hooks this kernel does not have is
// skipped.
func eachTier(t *testing.T, run func(t *testing.T, tier string)) {
	t.Helper()
	required := os.Getenv("REQUIRE_TIER")
	for _, tier := range tiers() {
		if required != "" && required != tier.name {
			continue
		}
		t.Run(tier.name, func(t *testing.T) {
			if required == "" {
				if err := tier.impossible(); err != nil {
					t.Skip(err)
				}
			}
			run(t, tier.name)
		})
	}
}

// pipe returns both ends of a TCP connection over loopback.
func pipe(t *testing.T, network, address string) (client, server *net.TCPConn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = c.Close(), s.Close() })
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func local(c net.Conn) netip.AddrPort {
	return c.LocalAddr().(*net.TCPAddr).AddrPort()
}
