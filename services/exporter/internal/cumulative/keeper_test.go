// SPDX-License-Identifier: Apache-2.0

package cumulative

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

const root = subject.DefaultRoot

// backend is a Prometheus: it takes a sample that is newer than the last one of its series, or the same.
type backend struct {
	mu      sync.Mutex
	last    map[string]sample
	refused int
	fell    []string // series that went down
	broken  bool
}

func (b *backend) take(ctx context.Context, md pmetric.Metrics, _ int) error {
	for {
		b.mu.Lock()
		broken := b.broken
		b.mu.Unlock()
		if !broken {
			break
		}
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range samples(md) {
		last, known := b.last[s.series]
		switch {
		case known && (s.stamp < last.stamp || s.stamp == last.stamp && s.value != last.value):
			b.refused++
			continue
		case known && s.value < last.value:
			b.fell = append(b.fell, fmt.Sprintf("%s from %v to %v", s.series, last.value, s.value))
		}
		b.last[s.series] = s
	}
	return nil
}

func (b *backend) values() map[string]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make(map[string]float64)
	for series, s := range b.last {
		out[series] = s.value
	}
	return out
}

func (b *backend) breaks(broken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = broken
}

// process is a Keeper with a connection of its own.
type process struct {
	bus   *bus.Bus
	state *State
	stop  func()

	mu       sync.Mutex
	standing Standing
	added    int
}

func run(t testing.TB, server *bustest.Server, instance string, to *backend) *process {
	t.Helper()
	b, err := bus.Connect(t.Context(), server.Config(instance), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(t.Context(), bus.StreamSpec(root.OutStream("d")), bus.StreamSpec(root.DeadStream())); err != nil {
		t.Fatal(err)
	}
	p := &process{bus: b, state: New(options())}
	k := &Keeper{
		Bus: b, Root: root, Destination: "d", Instance: instance, State: p.state,
		As:  bus.ConsumerSpec{Durable: "exporter", Stage: "exporter", DeadSubject: func(reason string) string { return root.Dead("exporter", reason) }},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("instance", instance),
		Added: func(*bus.Delivery, subject.Signal, Left) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.added++
		},
		Standing: func(s Standing) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.standing = s
		},
	}
	if to != nil {
		k.Deliver = to.take
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = k.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
		b.Close()
	})
	t.Cleanup(p.stop)
	return p
}

// kill ends the process without a farewell.
func (p *process) kill() {
	p.bus.Close()
	p.stop()
}

func (p *process) shards() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.standing.Shards
}

// load publishes deltas of many services and knows their sums.
type load struct {
	t    testing.TB
	bus  *bus.Bus
	n    int
	want map[string]float64
}

func (l *load) publish(messages int) {
	l.t.Helper()
	var all []bus.Msg
	for range messages {
		l.n++
		service, series, n := fmt.Sprintf("s%d", rand.IntN(24)), fmt.Sprint(rand.IntN(6)), 1+rand.IntN(9)
		at := time.Now().Add(-time.Duration(rand.IntN(60)) * time.Second)
		all = append(all, bus.Msg{
			Subject: root.Out("d", subject.Metrics, subject.Shard("default", "", service)), ID: fmt.Sprint(l.n), Items: 2, Data: delta(l.t, service, series, at, n),
		})
		l.want[service+" "+series] += float64(n)
		l.want["/"+service+" "+series] += float64(n)
	}
	if err := l.bus.Publish(l.t.Context(), all...); err != nil {
		l.t.Fatal(err)
	}
}

func newLoad(t testing.TB, server *bustest.Server) *load {
	l := &load{t: t, bus: server.Connect(t, "load"), want: make(map[string]float64)}
	if err := l.bus.Provision(t.Context(), bus.StreamSpec(root.OutStream("d"))); err != nil {
		t.Fatal(err)
	}
	return l
}

func (b *backend) has(t testing.TB, want map[string]float64) {
	t.Helper()
	bustest.Eventually(t, "the sums are there", func() bool { return maps.Equal(want, b.values()) || t.Failed() })
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.fell) > 0 {
		t.Errorf("%d samples fell: %v", len(b.fell), b.fell[:min(5, len(b.fell))])
	}
}

// Two, one and four processes: shards are shared out, killed ones are taken over, and the server restarts meanwhile.
func TestSumsAreRightWhoeverAddsThemUp(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	to := &backend{last: make(map[string]sample)}
	l := newLoad(t, server)
	share := func(what string, shards int, all ...*process) {
		t.Helper()
		bustest.Eventually(t, what, func() bool {
			l.publish(3)
			return !slices.ContainsFunc(all, func(p *process) bool { return p.shards() != shards })
		})
	}
	a, b := run(t, server, "a", to), run(t, server, "b", to)
	share("two share the work", 8, a, b)
	l.publish(300)
	a.kill()
	share("one has all", 16, b)
	l.publish(300)
	c, d := run(t, server, "c", to), run(t, server, "d", to)
	a = run(t, server, "a", to)
	share("four share the work", 4, a, b, c, d)
	l.publish(300)
	server.Restart()
	l.publish(300)
	c.stop()
	d.kill()
	share("two are left", 8, a, b)
	to.breaks(true)
	l.publish(300)
	a.kill()
	to.breaks(false)
	share("one is left", 16, b)
	to.has(t, l.want)
	if to.refused > 0 {
		t.Logf("%d samples were refused", to.refused)
	}
}

// One that is killed again and again and comes back under its name has its shards at once.
func TestInstanceThatComesBack(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	to := &backend{last: make(map[string]sample)}
	l := newLoad(t, server)
	for round := range 12 {
		p := run(t, server, "a", to)
		l.publish(100)
		bustest.Eventually(t, "some is read", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			return p.added > rand.IntN(100)
		})
		if round%3 == 0 {
			p.stop()
		} else {
			p.kill()
		}
	}
	run(t, server, "a", to)
	to.has(t, l.want)
	if to.refused > 0 {
		t.Errorf("%d samples were refused: one owner after the other should know what was sent", to.refused)
	}
}

// An owner that stands still while another one takes its shards finds out and does no harm.
func TestOwnerThatWakesUpLate(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	l := newLoad(t, server)
	ctx := t.Context()
	if err := l.bus.Provision(ctx, bus.StreamSpec(root.StateStream("d"))); err != nil {
		t.Fatal(err)
	}
	made, err := l.bus.Extent(ctx, root.OutStream("d").Name)
	if err != nil {
		t.Fatal(err)
	}
	vaultOf := func(instance string) *vault { return &vault{l.bus, root, "d", instance, rand.Uint64()} }
	first, second := vaultOf("first"), vaultOf("second")
	old, _, err := first.open(ctx, 5, made.Created)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.keep(ctx, 5, 0, old, []byte{8, 1}); err != nil { // position 1
		t.Fatal(err)
	}
	now, parts, err := second.open(ctx, 5, made.Created)
	if err != nil || len(parts[0]) == 0 {
		t.Fatal(parts[0], err)
	}
	if err := first.keep(ctx, 5, 0, old, []byte{8, 2}); err != nil { // it cannot know, and harms nobody
		t.Fatal(err)
	}
	if err := first.seal(ctx, 5, old, old.at); !errors.Is(err, errLost) {
		t.Errorf("the first vouches for its parts: %v", err)
	}
	if err := second.keep(ctx, 5, 0, now, []byte{8, 3}); err != nil {
		t.Errorf("the second cannot replace what the first wrote: %v", err)
	}
	if err := first.keep(ctx, 5, 0, old, []byte{8, 4}); !errors.Is(err, errLost) {
		t.Errorf("the first writes over the second: %v", err)
	}
	if err := second.seal(ctx, 5, now, now.at); err != nil {
		t.Errorf("the second cannot vouch: %v", err)
	}
}

// Neither a stream that is made anew nor state that vanishes while an owner lives resets or repeats anything.
func TestStreamsThatVanish(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	to := &backend{last: make(map[string]sample)}
	l := newLoad(t, server)
	p := run(t, server, "a", to)
	l.publish(200)
	to.has(t, l.want)
	server.DeleteStream(t, root.OutStream("d").Name)
	l.publish(100)
	to.has(t, l.want)
	server.DeleteStream(t, root.StateStream("d").Name)
	l.publish(100)
	to.has(t, l.want)
	p.stop()
	l.publish(100)
	run(t, server, "a", to)
	to.has(t, l.want)
}

func TestWhatCannotBeReadIsADeadLetter(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	to := &backend{last: make(map[string]sample)}
	l := newLoad(t, server)
	run(t, server, "a", to)
	if err := l.bus.Publish(t.Context(),
		bus.Msg{Subject: root.Out("d", subject.Metrics, 1), ID: "x", Data: []byte("no protobuf")},
		bus.Msg{Subject: root.Out("d", subject.Metrics, 1), ID: "y", Data: []byte("no s2"), Encoding: "s2"},
		bus.Msg{Subject: string(root) + ".out.d.nonsense.1", ID: "z", Data: []byte("z")},
	); err != nil {
		t.Fatal(err)
	}
	l.publish(10)
	to.has(t, l.want)
	got := make(map[string]int)
	for _, d := range bustest.ReadAll(t, l.bus, root.DeadStream().Name, "") {
		got[d.Subject]++
	}
	if d := cmp.Diff(map[string]int{root.Dead("exporter", "undecodable"): 2, root.Dead("exporter", "subject"): 1}, got); d != "" {
		t.Errorf("dead letters (-want +got):\n%s", d)
	}
}

func TestShardsAreSharedOutFairly(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	table := func(all ...*owners) (last *owners) {
		for range 6 { // beats of all in turn
			for _, o := range all {
				now = now.Add(100 * time.Millisecond)
				o.table = all[0].table
				for _, other := range all {
					if other.table != nil && other.last > o.last {
						o.table, o.last = other.table, other.last
					}
				}
				next, want, present := o.next(now)
				if !present {
					t.Fatal("displaced")
				}
				clear(o.let)
				for shard, owner := range next.GetShards() {
					if owner == o.instance && !slices.Contains(want, shard) {
						o.letGo(shard)
					}
				}
				o.table, o.last, o.joined = next, o.last+1, true
				last = o
			}
		}
		return last
	}
	member := func(name string) *owners {
		return &owners{instance: name, life: rand.Uint64(), heard: make(map[string]heard), let: make(map[int]bool), log: slog.New(slog.DiscardHandler)}
	}
	var all []*owners
	for i := range 5 {
		all = append(all, member(fmt.Sprint(i)))
		last := table(all...)
		counts := make(map[string]int)
		for _, owner := range last.table.GetShards() {
			counts[owner]++
		}
		for _, o := range all {
			if n := counts[o.instance]; n < subject.Shards/len(all) || n > (subject.Shards+len(all)-1)/len(all) {
				t.Errorf("of %d members, %s has %d shards", len(all), o.instance, n)
			}
		}
	}
}

// FuzzApply holds that any request leaves a state that can be handed over and flushed.
func FuzzApply(f *testing.F) {
	f.Add(delta(f, "shop", "a", epoch, 1))
	f.Add([]byte{})
	a := New(options())
	a.Own(0, 0)
	sequence := uint64(0)
	f.Fuzz(func(t *testing.T, request []byte) {
		sequence++
		_, _, _ = a.Apply(Message{Sequence: sequence, Time: epoch, Data: request})
		a.Flush(true)
		b := New(options())
		move(t, a, b, 0)
		if a.Series() > DefaultMaxSeries {
			t.Errorf("%d series", a.Series())
		}
	})
}
