// SPDX-License-Identifier: Apache-2.0

package enricher_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// normal are the routes of a service that is attacked, and paths of each.
func normal(i int) (route, path string) {
	routes := strings.Fields(`/ /cart /cart/items /cart/items/* /cart/checkout /cart/coupons/* /products /products/* /products/*/reviews
		/products/search /users/* /users/*/orders /users/*/orders/* /users/login /users/logout /api/v1/status /api/v1/metrics /api/v2/graphql
		/static/css/site.css /static/js/app.js`)
	route = routes[i%len(routes)]
	return route, strings.ReplaceAll(route, "*", fmt.Sprint(1000+i))
}

const normalRoutes = 20

// dictionary returns words of a list that a scanner has.
func dictionary(rnd *rand.Rand) string {
	return animals[rnd.IntN(len(animals))] + "-" + animals[rnd.IntN(len(animals))]
}

// made returns words that nobody has used before.
func made(rnd *rand.Rand) string {
	var word strings.Builder
	for range 5 {
		word.WriteByte("bcdfglmnprst"[rnd.IntN(12)])
		word.WriteByte("aeiou"[rnd.IntN(5)])
	}
	return word.String()
}

// hostile returns request number i of an attack: words that pass for names, ids, what is no ASCII, what is very long, deep or none at all.
func hostile(i int, word func() string, rnd *rand.Rand) string {
	switch i % 8 {
	case 0:
		return fmt.Sprintf("/%s/%d", word(), i)
	case 1:
		return "/" + strings.Repeat("straße-", 1+i%9) + fmt.Sprint(i)
	case 2:
		return fmt.Sprintf("/%s/%s/%s", word(), strings.Repeat("long", i%400), word())
	case 3:
		return fmt.Sprintf("/cart/%s/%x", word(), rnd.Uint64())
	case 4:
		return fmt.Sprintf("/products/%s.%s", word(), word())
	case 5:
		return strings.Repeat("/"+word(), 1+i%14)
	case 6:
		return fmt.Sprintf("/%s\xff%c/%d", word(), rune(0x4e00+i%20000), i)
	}
	return fmt.Sprintf("/%s/%s/%s/%s", word(), word(), word(), word())
}

// A hundred thousand paths, hosts, agents and methods, asked of a service and by it, answered with success or not, each once or again and
// again: the series of the service stay few, its own routes keep their names, and nothing of it stays in memory.
func TestCardinalityAttack(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a while")
	}
	for _, tc := range []struct {
		name string
		plot plot
	}{
		{"a scan, from the first request", plot{word: dictionary, status: func(int) uint32 { return 404 }}},
		{"answered with success now and then, from the first request", plot{word: made, status: func(i int) uint32 { return uint32(200 + 204*(i%2)) }}},
		{"a server that answers everything with success", plot{warm: 3, word: made, status: func(int) uint32 { return 200 }}},
		{"the same words all the time, once the service has settled", plot{warm: 101, word: dictionary, status: func(int) uint32 { return 200 }}},
		{"the same paths all the time, once the service has settled", plot{warm: 101, repeat: 4, word: made, status: func(int) uint32 { return 200 }}},
	} {
		t.Run(tc.name, func(t *testing.T) { tc.plot.run(t) })
	}
}

// plot is how a service is attacked.
type plot struct {
	warm   int // requests for each normal route before
	repeat int // of each hostile request; 0 for once
	word   func(rnd *rand.Rand) string
	status func(i int) uint32 // of the answers
}

const (
	hostileRequests = 100_000
	mostRoutes      = 1000 // of the service and of what it calls, together
	mostMemory      = 64 << 20
)

func (p plot) run(t *testing.T) {
	warm, repeat, status := p.warm, max(p.repeat, 1), p.status
	in := install(t)
	in.enrich(t, nil)
	const server, client = eventv1.Role_ROLE_SERVER, eventv1.Role_ROLE_CLIENT
	var exchanges []*eventv1.Exchange
	sent := 0
	send := func() {
		in.publish(t, fmt.Sprint(sent), encode(t, sent, exchanges))
		sent, exchanges = sent+len(exchanges), exchanges[:0]
	}
	for i := range warm * normalRoutes {
		_, path := normal(i)
		exchanges = append(exchanges, exchange(0, server, "shop", path, 200))
	}
	if warm > 0 {
		send()
	}
	in.counted(t, sent)
	start := memory()
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range hostileRequests / repeat {
		path := hostile(i, func() string { return p.word(rnd) }, rnd)
		for range repeat {
			x := exchange(0, server, fmt.Sprintf("host-%d.example", i), path, status(i))
			if i%4 == 0 {
				x = exchange(0, client, fmt.Sprintf("host-%d.example", i), path, status(i))
				x.PeerPort = uint32(1 + i%60_000)
			}
			x.GetHttp().Method, x.GetHttp().UserAgent = fmt.Sprint("M", i), fmt.Sprintf("agent/%d (%s)", i, path[:min(len(path), 200)])
			exchanges = append(exchanges, x)
		}
		if i%20 == 0 {
			_, path := normal(i / 20)
			exchanges = append(exchanges, exchange(0, server, "shop", path, 200))
		}
		if len(exchanges) > 500 {
			send()
		}
	}
	send()
	in.counted(t, sent)
	if grown := memory() - start; grown > mostMemory {
		t.Errorf("%d MiB stay in memory", grown>>20)
	} else {
		t.Logf("%d KiB stay in memory", grown>>10)
	}
	in.judge(t, warm, repeat)
}

// judge looks at what is counted after an attack.
func (in *installation) judge(t *testing.T, warm, repeat int) {
	t.Helper()
	routes, gets := map[string]bool{}, map[string]uint64{}
	counts := in.counts(t, 0)
	for s, n := range counts {
		routes[s.metric+s.route] = true
		if s.method == "GET" {
			gets[s.route] += n
		}
	}
	asked := warm*normalRoutes + (hostileRequests/repeat+19)/20
	unnamed := asked
	for i := range normalRoutes {
		route, _ := normal(i)
		unnamed -= int(gets[route])
	}
	most := 0
	if warm == 0 { // a service that is learned while it is attacked
		most = 4 * normalRoutes
	}
	if unnamed > most {
		t.Errorf("%d of %d normal requests lost the name of their route: %v", unnamed, asked, gets)
	}
	if len(routes) > mostRoutes {
		t.Errorf("%d routes", len(routes))
	}
	t.Logf("%d series, %d routes, %d of %d normal requests without their name", len(counts), len(routes), unnamed, asked)
}

// counted waits until so many exchanges are counted.
func (in *installation) counted(t *testing.T, n int) {
	t.Helper()
	bustest.Eventually(t, "all exchanges are counted", func() bool { return total(in.counts(t, 0)) >= uint64(n) })
}

func encode(t *testing.T, i int, exchanges []*eventv1.Exchange) []byte {
	t.Helper()
	data, err := (&eventv1.ExchangeBatch{
		Origin:    &eventv1.Origin{Node: "node-1", Run: "r", Sequence: uint64(i)},
		Processes: []*eventv1.Process{{Pid: 1, OtelServiceName: "shop"}},
		Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}}, Exchanges: exchanges,
	}).MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// memory is what is in use once garbage is gone.
func memory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
