// SPDX-License-Identifier: Apache-2.0

package learned_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/enricher/internal/learned"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const root = subject.DefaultRoot

// replica is a keeper at work.
type replica struct {
	*route.Routes
	keeper *learned.Keeper
	bus    *bus.Bus
	stop   func()
}

// start starts a replica and waits until it knows what is stored.
func start(t *testing.T, server *bustest.Server) *replica {
	t.Helper()
	r := &replica{Routes: route.New(&route.Book{}), bus: server.Connect(t, "test")}
	if err := r.bus.Provision(t.Context(), bus.StreamSpec(root.RouteStream())); err != nil {
		t.Fatal(err)
	}
	r.keeper = &learned.Keeper{Bus: r.bus, Root: root, Routes: r.Routes, Source: "test", Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	ended, caught := make(chan error, 1), make(chan struct{})
	go func() { ended <- r.keeper.Run(ctx, func() { close(caught) }) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("keeper ended with %v", err)
		}
	})
	t.Cleanup(r.stop)
	<-caught
	return r
}

func (r *replica) route(path string) string {
	return r.Service("eu", "shop", route.Server).Route(path, "", true).Name
}

// shape is what a replica knows, for comparison.
func (r *replica) shape() string {
	return protojson.Format(r.Service("eu", "shop", route.Server).Pack())
}

// settle waits until all replicas have read everything and have nothing to say.
func settle(t *testing.T, replicas ...*replica) {
	t.Helper()
	bustest.Eventually(t, "replicas agree", func() bool {
		unsaved := 0
		for _, r := range replicas {
			unsaved += r.keeper.Unsaved()
		}
		end, err := replicas[0].bus.Extent(t.Context(), root.RouteStream().Name)
		if err != nil || unsaved > 0 {
			return false
		}
		for _, r := range replicas {
			if r.keeper.Sequence() != end.Last {
				return false
			}
		}
		return true
	})
}

// agree settles replicas, and returns what all of them know.
func agree(t *testing.T, replicas ...*replica) string {
	t.Helper()
	settle(t, replicas...)
	known := replicas[0].shape()
	for _, r := range replicas[1:] {
		if d := cmp.Diff(known, r.shape()); d != "" {
			t.Errorf("replicas do not agree:\n%s", d)
		}
	}
	return known
}

var animals = strings.Fields(`badger beaver cheetah donkey falcon ferret gorilla hamster leopard lobster monkey ostrich panther penguin rabbit
	salmon spider turkey walrus weasel`) //nolint:gochecknoglobals // constant

func TestReplicasTellEachOther(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	a, b := start(t, server), start(t, server)
	for range 2 { // names count when they succeed again
		for i, animal := range animals[:12] {
			[]*replica{a, b}[i%2].route("/zoo/" + animal + "/food") // six each: neither has too many
		}
	}
	agree(t, a, b)
	for _, r := range []*replica{a, b} {
		if got := r.route("/zoo/" + animals[0] + "/food"); got != "/zoo/*/food" {
			t.Errorf("twelve names over both: %q", got)
		}
	}
}

func TestWhatWasLearnedOutlivesAll(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	a := start(t, server)
	for _, animal := range append(animals, animals...) {
		a.route("/zoo/" + animal)
	}
	a.stop() // which saves
	server.Restart()
	if got := start(t, server).route("/zoo/dromedary"); got != "/zoo/*" {
		t.Errorf("after a restart: %q", got)
	}
}

func TestADeletedStreamIsWrittenAnew(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	a := start(t, server)
	for _, animal := range append(animals, animals...) {
		a.route("/zoo/" + animal)
	}
	known := agree(t, a)
	server.DeleteStream(t, root.RouteStream().Name)
	a.route("/new") // it is missed when something is written
	bustest.Eventually(t, "the stream is back", func() bool {
		e, err := a.bus.Extent(t.Context(), root.RouteStream().Name)
		return err == nil && e.Last > 0 && a.keeper.Unsaved() == 0
	})
	b := start(t, server)
	if b.route("/zoo/dromedary") != "/zoo/*" {
		t.Errorf("written anew: %s\nknown before: %s", b.shape(), known)
	}
}

func TestGarbageIsReplaced(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	a := start(t, server)
	to := root.Route("server", "shop", subject.ServiceHash("eu", "shop"))
	for _, data := range []string{"no shape", "\x12\x05other"} {
		if err := a.bus.Publish(t.Context(), bus.Msg{Subject: to, Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	a.route("/cart")
	a.route("/cart")
	known := agree(t, a)
	if b := start(t, server); b.shape() != known {
		t.Errorf("stored: %s\nknown: %s", b.shape(), known)
	}
}

// What is in use does not grow old: the stream forgets what nobody writes.
func TestWhatIsInUseIsStoredAnew(t *testing.T) {
	t.Parallel()
	a := start(t, bustest.Start(t))
	a.route("/cart")
	for _, step := range []struct {
		later time.Duration
		use   bool
		anew  uint64
	}{{learned.RenewAfter / 2, true, 0}, {2 * learned.RenewAfter, false, 0}, {2 * learned.RenewAfter, true, 1}} {
		if step.use {
			a.route("/cart/")
		}
		settle(t, a)
		before := a.keeper.Sequence()
		a.keeper.Renew(t.Context(), step.later)
		settle(t, a)
		if after := a.keeper.Sequence(); after != before+step.anew {
			t.Errorf("%v later, in use %v: %d messages were written", step.later, step.use, after-before)
		}
	}
}

// Whatever the order and whoever sees what: once everything was seen often, all know the same, which is what one alone would know.
func TestManyLearnWhatOneLearns(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	rnd := rand.New(rand.NewPCG(7, 8))
	var paths []string
	for i := range 8 { // a place with few names, and behind each a place with many, and values
		for _, animal := range animals {
			paths = append(paths, fmt.Sprintf("/%s/%s/food", animals[i], animal), fmt.Sprintf("/%s/%d/bed", animals[i], rnd.IntN(1e6)))
		}
	}
	one := start(t, bustest.Start(t))
	many := []*replica{start(t, server), start(t, server), start(t, server), start(t, server)}
	for range 12 { // more often than all of them need together
		rnd.Shuffle(len(paths), func(i, j int) { paths[i], paths[j] = paths[j], paths[i] })
		for i, path := range paths {
			one.route(path)
			many[rnd.IntN(len(many))].route(path)
			if i == len(paths)/2 {
				server.Restart()
			}
		}
	}
	agree(t, many...)
	for _, path := range paths {
		want := one.route(path)
		for i, r := range many {
			if got := r.route(path); got != want {
				t.Fatalf("replica %d: Route(%q) = %q, one alone says %q", i, path, got, want)
			}
		}
	}
}
