// SPDX-License-Identifier: Apache-2.0

package enricher_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/kit/store/redis/redistest"
	"github.com/busbar/busbar/services/enricher"
)

// sort is what exchanges have in common that metrics count together.
type sort struct {
	subject, metric, method, route, address string
	port, status                            int64
}

// counts is how many exchanges the durations count that were stored behind a place of the stream.
func (in *installation) counts(t *testing.T, after uint64) map[sort]uint64 {
	t.Helper()
	out := map[sort]uint64{}
	for _, d := range bustest.ReadAll(t, in.bus, root.OTLPStream().Name, string(root)+".otlp.metrics.>") {
		if d.Sequence <= after {
			continue
		}
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(data); err != nil {
			t.Fatal(err)
		}
		for _, rm := range request.Metrics().ResourceMetrics().All() {
			for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
				if !strings.HasSuffix(m.Name(), ".request.duration") {
					continue
				}
				for _, p := range m.Histogram().DataPoints().All() {
					text := func(key string) string { v, _ := p.Attributes().Get(key); return v.AsString() }
					number := func(key string) int64 { v, _ := p.Attributes().Get(key); return v.Int() }
					out[sort{
						d.Subject, m.Name(), text("http.request.method"), text("http.route"), text("server.address"),
						number("server.port"), number("http.response.status_code"),
					}] += p.Count()
				}
			}
		}
	}
	return out
}

// end is the newest message that is stored.
func (in *installation) end(t *testing.T, stream subject.Stream) uint64 {
	t.Helper()
	e, err := in.bus.Extent(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	return e.Last
}

// send publishes exchanges of two services in some order, in batches of a hundred.
func (in *installation) send(t *testing.T, run string, exchanges []*eventv1.Exchange, rnd *rand.Rand) {
	t.Helper()
	order := rnd.Perm(len(exchanges))
	for n := 0; len(order) > 0; n++ {
		b := &eventv1.ExchangeBatch{
			Origin:    &eventv1.Origin{Node: "node-1", Run: run, Sequence: uint64(n + 1)},
			Processes: []*eventv1.Process{{Pid: 1, OtelServiceName: "zoo"}, {Pid: 2, OtelServiceName: "shop"}},
			Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}},
		}
		size := min(100, len(order))
		for _, i := range order[:size] {
			b.Exchanges = append(b.Exchanges, exchanges[i])
		}
		order = order[size:]
		data, err := b.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		in.publish(t, fmt.Sprint(run, n), data)
	}
}

func exchange(process uint32, role eventv1.Role, host, path string, status uint32) *eventv1.Exchange {
	return &eventv1.Exchange{
		Process: process, Role: role, StartUnixNano: 1_700_000_000_000_000_000, EndNano: 1_000_000, PeerAddress: 1, LocalPort: 80, PeerPort: 80,
		Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: path, Status: status, Host: host}},
	}
}

// fleet is an installation with some enrichers and a store of theirs.
type fleet struct {
	*installation
	redis  *redistest.Server
	admins []*admin.Admin
	stops  []func()
}

func newFleet(t *testing.T, replicas int) *fleet {
	t.Helper()
	f := &fleet{installation: install(t), redis: redistest.Start(t)}
	f.start(t, replicas)
	return f
}

func (f *fleet) start(t *testing.T, replicas int) {
	t.Helper()
	for i := range replicas {
		adm, stop := f.enrich(t, func(c *enricher.Config) { c.Instance, c.Store = fmt.Sprint("e", i), f.redis.URL() })
		f.admins, f.stops = append(f.admins, adm), append(f.stops, stop)
	}
}

// restart stops all enrichers, and begins anew with an empty store.
func (f *fleet) restart(t *testing.T) {
	t.Helper()
	for _, stop := range f.stops {
		stop()
	}
	replicas := len(f.stops)
	f.admins, f.stops = nil, nil
	f.redis.Kill(t)
	f.redis.Start(t)
	f.start(t, replicas)
}

// settle waits until so many exchanges are counted and all replicas know what any of them knows.
func (f *fleet) settle(t *testing.T, counted uint64) {
	t.Helper()
	bustest.Eventually(t, "all is counted and known to all", func() bool {
		end := f.end(t, root.RouteStream())
		for _, adm := range f.admins {
			if value(t, adm.Gatherer(), "busbar_enricher_route_unsaved_services") > 0 ||
				value(t, adm.Gatherer(), "busbar_enricher_route_sequence") != float64(end) {
				return false
			}
		}
		return total(f.counts(t, 0)) == counted
	})
}

var animals = strings.Fields(`badger beaver cheetah donkey falcon ferret gorilla hamster leopard lobster monkey ostrich panther penguin rabbit
	salmon spider turkey walrus weasel`) //nolint:gochecknoglobals // constant

// Four enrichers and one name the same exchanges alike, in whatever order they come to whom, while their store is killed and starts again, empty;
// and also after all of them were started anew.
func TestFourReplicasAndOneNameAlike(t *testing.T) {
	t.Parallel()
	const server, client = eventv1.Role_ROLE_SERVER, eventv1.Role_ROLE_CLIENT
	var all []*eventv1.Exchange
	for i := range 8 {
		for k, animal := range animals { // more names than a place shows
			all = append(all, exchange(0, server, "", fmt.Sprintf("/%s/%s/food", animals[i], animal), 200),
				exchange(0, server, "", fmt.Sprintf("/%s/%d/bed", animals[i], k), 404),
				exchange(0, client, fmt.Sprintf("host-%d", k), fmt.Sprintf("/%s/%s", animal, animals[i]), 200))
		}
		for k := range 10 { // a service in order: no place has too many
			all = append(all, exchange(1, server, "", fmt.Sprintf("/%s/%s/%d", animals[i], animals[k], k), uint32(200+100*(k%4))))
		}
	}
	const times = 12 // more often than four replicas need to know each of them
	var often []*eventv1.Exchange
	for range times {
		often = append(often, all...)
	}
	fleets := []*fleet{newFleet(t, 1), newFleet(t, 4)}
	var first, then [2]map[sort]uint64
	for i, f := range fleets {
		rnd := rand.New(rand.NewPCG(uint64(i), 9))
		half := len(often) / 2
		f.send(t, "a", often[:half], rnd)
		f.redis.Kill(t)
		f.send(t, "b", often[half:], rnd)
		f.redis.Start(t)
		f.settle(t, uint64(len(often)))
		first[i] = f.counts(t, 0)
		learned := f.end(t, root.OTLPStream())
		f.restart(t)
		f.send(t, "c", often[half:], rnd)
		f.redis.Kill(t)
		f.send(t, "d", often[:half], rnd)
		f.redis.Start(t)
		f.settle(t, uint64(2*len(often)))
		then[i] = f.counts(t, learned)
	}
	if d := cmp.Diff(then[0], then[1]); d != "" || total(then[0]) != uint64(len(often)) {
		t.Errorf("once all is learned, one and four differ (%d counted):\n%s", total(then[0]), d)
	}
	shop := func(counts map[sort]uint64) map[sort]uint64 {
		out := map[sort]uint64{}
		for s, n := range counts {
			if strings.HasSuffix(s.subject, ".shop") {
				out[s] = n
			}
		}
		return out
	}
	if d := cmp.Diff(shop(first[0]), shop(first[1])); d != "" {
		t.Errorf("where nothing has to be learned, one and four differ from the first exchange on:\n%s", d)
	}
	if a, b := total(first[0]), total(first[1]); a != b {
		t.Errorf("one counts %d, four count %d", a, b)
	}
}
