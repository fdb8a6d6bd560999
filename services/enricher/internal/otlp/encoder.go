// SPDX-License-Identifier: Apache-2.0

// Package otlp turns batches of exchanges into OTLP messages: a span for each exchange, and histograms over all of them.
//
// Where a batch is cut is decided by it and by what its processes are called. Routes and the addresses in metrics depend on the past
// (packages route and peer), so the bytes of a message may differ between two tries; its part does not, which says of which
// service and of which exchanges it is. That is what lets a redelivered batch be recognised part by part. A process that
// has another name at the second try gives another part: its exchanges may come twice, and are never taken for others.
package otlp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/enricher/internal/budget"
	"github.com/busbar/busbar/services/enricher/internal/ident"
	"github.com/busbar/busbar/services/enricher/internal/kube"
	"github.com/busbar/busbar/services/enricher/internal/note"
	"github.com/busbar/busbar/services/enricher/internal/peer"
	"github.com/busbar/busbar/services/enricher/internal/route"
	"github.com/busbar/busbar/services/enricher/internal/signals"
	"github.com/busbar/busbar/services/enricher/internal/who"
)

// MaxMessage bounds the messages that are made, in bytes.
const MaxMessage = 512 << 10

// Message is one OTLP request about one service.
type Message struct {
	Signal             subject.Signal
	Namespace, Service string // true names
	Part               string // names the message among those of its batch
	Items              int    // spans or data points
	Data               []byte
}

// Result is what became of a batch. It is valid until the next batch is encoded.
type Result struct {
	Messages []Message
	// Lost counts the exchanges that were left out, by reason.
	Lost map[string]int
	// Left counts the exchanges that count in metrics and have no span, because the SDK inside their process makes one or RouteRules
	// want none.
	Left int
	// Overflow counts the exchanges that are counted without attributes, because their service has too many series.
	Overflow int
	// Cut counts the exchanges of whose span a text had to be cut.
	Cut int
	// Malformed counts the processes whose OTEL_RESOURCE_ATTRIBUTES had to be left out.
	Malformed int
}

// Encoder makes messages. It keeps buffers from one batch to the next and is for one goroutine at a time; Routes and Peers
// may be shared.
type Encoder struct {
	Routes  *route.Routes
	Peers   *peer.Peers
	Names   *ident.Book
	Who     *who.Book
	Notes   *note.Book // what pods ask for; nil: they are not asked
	Budget  *budget.Budget
	Signals *atomic.Pointer[signals.Book] // may change at any time, which counts from the next batch on

	// Of the batch at hand.
	machine   *ident.Machine
	addresses []string
	netips    []netip.Addr // the same
	networks  map[ident.Network]uint32
	parties   map[end]party // who is where
	host      string        // of the exchange before, and what it calls the server
	called    who.Host
	processes []process
	groups    []*group
	book      *signals.Book
	result    Result
	chunk     int      // number of the chunk at hand, from 1
	part      []byte   // what names that chunk: the service, and the index of each exchange
	blocks    []*block // of that chunk; the others wait to be used again
	used      int      // blocks in use

	cells     []*cell // of that chunk; the others wait to be used again
	cellsUsed int

	// Scratch.
	points, url, metrics, attributes, counts, scope []byte
	series                                          []series

	data []byte // of all messages

	descriptions map[described]*description

	families []family
	wanted   []*family // of the service at hand
}

// NewEncoder returns an Encoder with settings and a budget of its own, which the caller may replace by those that he shares among
// encoders.
func NewEncoder(routes *route.Routes, peers *peer.Peers, names *ident.Book) *Encoder {
	e := &Encoder{Routes: routes, Peers: peers, Names: names}
	e.families, e.descriptions = families(), map[described]*description{}
	e.networks, e.parties, e.Who = map[ident.Network]uint32{}, map[end]party{}, who.New((*kube.Directory)(nil))
	e.Budget, e.Signals = budget.New(nil), new(atomic.Pointer[signals.Book])
	book, _ := signals.NewBook(nil)
	e.Signals.Store(book)
	e.scope = appendField(appendField(nil, scopeName, names.By.Name), scopeVersion, names.By.Version)
	return e
}

// process is a process of the batch, identified when its first exchange comes.
type process struct {
	*description
	known   *ident.Known
	notes   *note.Notes
	twin    *process // that the same resource describes and came first, or the process itself
	group   *group
	yield   eventv1.Yield
	server  *route.Service
	client  *route.Service
	network uint32 // number of the one it is in
	met     bool   // an exchange of it has been looked at
	answers bool   // it was seen to answer a request
	at      end    // where it did so last
	charged int    // chunk in which room for the resource was set aside
	block   *block // in the chunk at hand, once it has something
}

// group is a service of the batch.
type group struct {
	namespace, name string
	id              string // both
	settings        *signals.Settings
	account         *budget.Account
	exchanges       []int      // indexes
	shared          []*process // whose resource others may have too
}

// Encode makes the messages of a batch in a fixed order: for each service and chunk of its exchanges, traces and metrics.
func (e *Encoder) Encode(batch *eventv1.ExchangeBatch) Result {
	e.begin(batch)
	for _, g := range e.groups {
		e.encodeGroup(batch, g)
	}
	return e.result
}

// begin sorts exchanges into services.
func (e *Encoder) begin(batch *eventv1.ExchangeBatch) {
	e.result = Result{Messages: e.result.Messages[:0], Lost: map[string]int{}}
	e.book = e.Signals.Load()
	e.chunk = 1
	e.data = e.data[:0]
	e.machine = e.Names.Machine(batch.GetOrigin())
	e.addresses, e.netips = e.addresses[:0], e.netips[:0]
	clear(e.networks)
	clear(e.parties)
	e.host, e.called = "", who.Host{}
	for _, raw := range batch.GetAddresses() {
		ip, text := address(raw)
		e.netips, e.addresses = append(e.netips, ip), append(e.addresses, text)
	}
	clear(e.processes)
	e.processes = slices.Grow(e.processes[:0], len(batch.GetProcesses()))[:len(batch.GetProcesses())]
	e.groups = e.groups[:0]
	groups := map[[2]string]*group{}
	for i, x := range batch.GetExchanges() {
		if int(x.GetProcess()) >= len(e.processes) {
			e.result.Lost[LossProcess]++
			continue
		}
		p := &e.processes[x.GetProcess()]
		if p.group == nil {
			e.identify(p, batch.GetProcesses()[x.GetProcess()], groups)
		}
		e.serves(p, x) // before any client asks who serves there
		p.group.exchanges = append(p.group.exchanges, i)
	}
	slices.SortFunc(e.groups, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.namespace, b.namespace), cmp.Compare(a.name, b.name))
	})
}

func (e *Encoder) identify(p *process, raw *eventv1.Process, groups map[[2]string]*group) {
	id := e.machine.Of(raw)
	if id.Malformed {
		e.result.Malformed++
	}
	names := [2]string{id.Namespace, id.Name}
	if p.group = groups[names]; p.group == nil {
		p.group = &group{namespace: id.Namespace, name: id.Name, id: id.Namespace + "/" + id.Name}
		p.group.settings, p.group.account = e.book.For(id.Namespace, id.Name), e.Budget.Of(p.group.id)
		groups[names] = p.group
		e.groups = append(e.groups, p.group)
	}
	p.notes = e.Notes.Of(id.Pod)
	p.known, p.yield, p.description = id, raw.GetYield(), e.describe(id, p.group.settings)
	p.network = e.number(id.Network)
	if p.twin = p.group.twin(p); p.twin != p {
		return
	}
	p.server = e.Routes.Service(id.Namespace, id.Name, route.Server)
	p.client = e.Routes.Service(id.Namespace, id.Name, route.Client)
}

// twin returns the first process of a container that the same resource describes, so that their measurements are added up here.
func (g *group) twin(p *process) *process {
	if !p.known.Shared {
		return p
	}
	for _, other := range g.shared {
		if other.yield == p.yield && bytes.Equal(other.resource, p.resource) {
			return other
		}
	}
	g.shared = append(g.shared, p)
	return p
}

// Worst cases, in bytes, of what an exchange adds to the larger of the two messages, besides its texts, and of what a
// process adds besides its resource. A test holds them against the encoder.
const (
	exchangeCost = 2000
	processCost  = 1200
)

// encodeGroup cuts the exchanges of a service into chunks and encodes each.
func (e *Encoder) encodeGroup(batch *eventv1.ExchangeBatch, g *group) {
	var x exchange
	size := 0
	flush := func() {
		e.flush(g, size)
		size = 0
		e.chunk++
	}
	e.name(g)
	for _, i := range g.exchanges {
		raw := batch.GetExchanges()[i]
		if loss := e.read(raw, &x); loss != "" {
			e.result.Lost[loss]++
			continue
		}
		p := e.processes[raw.GetProcess()].twin
		e.meet(p, &x)
		cost := exchangeCost + 3*len(x.path) + 3*min(max(len(x.path), len(x.chosen), route.MaxPattern), route.MaxRoute) + len(x.host) + len(x.agent) +
			3*len(x.socket) + len(x.secret.GetServerName()) + 4*max(len(x.server), len(x.client)) + 4*(len(x.far.Name)+len(x.far.Namespace)+len(x.far.KubeNamespace))
		if size > 0 && size+cost+processCost+len(p.resource) > MaxMessage {
			flush()
			e.name(g)
		}
		if p.charged != e.chunk {
			p.charged = e.chunk
			size += processCost + len(p.resource)
		}
		size += cost
		e.part = binary.LittleEndian.AppendUint32(e.part, uint32(i)) //nolint:gosec // an index in a message of bounded size
		e.add(p, &x, batch.GetOrigin(), i)
	}
	flush()
}

// name begins the name of a chunk.
func (e *Encoder) name(g *group) {
	e.part = append(append(e.part[:0], g.namespace...), 0)
	e.part = append(append(e.part, g.name...), 0)
}

// add takes an exchange into the chunk at hand.
func (e *Encoder) add(p *process, x *exchange, origin *eventv1.Origin, index int) {
	r := e.route(p, x)
	x.route = r.Name
	spans := p.yield == eventv1.Yield_YIELD_UNSPECIFIED && !r.NoSpan
	metrics := p.yield != eventv1.Yield_YIELD_ALL && !r.NoMetric && x.secret == nil
	sampled := spans && !keeps(p.notes, x, origin, index)
	switch {
	case sampled:
		spans = false
		e.result.Lost[LossSampled]++
	case !spans && metrics:
		e.result.Left++
	case !spans:
		e.result.Lost[lossOf(r)]++
	}
	if !spans && !metrics {
		return
	}
	if p.block == nil {
		p.block = e.newBlock(p)
	}
	b := p.block
	b.first, b.last = min(b.first, x.end), max(b.last, x.end)
	var shown *spanIDs
	if spans {
		ids := e.addSpans(b, x, origin, index)
		shown = &ids
	}
	if metrics {
		e.count(b, x, shown)
	}
}

// keeps tells whether an exchange that could have a span has one, and gives it its tracestate.
func keeps(n *note.Notes, x *exchange, origin *eventv1.Origin, index int) bool {
	if n == nil || n.State == "" {
		return true
	}
	x.state = n.State
	trace, _, _ := x.ids(origin, index)
	return n.Keeps(trace)
}

// lossOf says why an exchange is left out that leaves neither span nor metric.
func lossOf(r route.Route) string {
	if r.NoSpan || r.NoMetric {
		return LossIgnored
	}
	return LossSDK
}

// route finds the route of an exchange.
func (e *Encoder) route(p *process, x *exchange) route.Route {
	if x.secret != nil {
		return route.Route{}
	}
	routes := p.server
	if x.side == route.Client {
		routes = p.client
	} else if r, ok := p.notes.Routes().Route(x.path); ok {
		return r
	}
	return routes.Route(x.path, x.chosen, x.proven())
}

// flush ends the chunk at hand, of which each message has size bytes at most. A signal of which there is nothing has no message. Families
// share a message if that is sure to hold them, whatever their series are.
func (e *Encoder) flush(g *group, size int) {
	part := strconv.FormatUint(xxhash.Sum64(e.part), 16)
	e.message(g, subject.Traces, "traces."+part, func(b *block) ([]byte, int) { return b.spans, b.count })
	e.wanted = e.wanted[:0]
	for i := range e.families {
		if f := &e.families[i]; f.on(g.settings) {
			e.wanted = append(e.wanted, f)
		}
	}
	if len(e.wanted)*size <= MaxMessage {
		e.message(g, subject.Metrics, "metrics."+part, func(b *block) ([]byte, int) { return e.appendFamilies(b, e.wanted) })
	} else {
		for i, f := range e.wanted {
			e.message(g, subject.Metrics, "metrics."+f.name+"."+part, func(b *block) ([]byte, int) { return e.appendFamilies(b, e.wanted[i:i+1]) })
		}
	}
	for _, b := range e.blocks[:e.used] {
		b.process.block = nil
	}
	e.used, e.cellsUsed = 0, 0
}

// message makes a message of what there is of each block: encoded records, and their number.
func (e *Encoder) message(g *group, signal subject.Signal, part string, of func(*block) (records []byte, items int)) {
	m := Message{Signal: signal, Namespace: g.namespace, Service: g.name, Part: part}
	start := len(e.data)
	for _, b := range e.blocks[:e.used] {
		if records, items := of(b); items > 0 {
			e.appendResourceRecords(b.process.resource, records)
			m.Items += items
		}
	}
	if m.Data = e.data[start:]; m.Items > 0 {
		e.result.Messages = append(e.result.Messages, m)
	}
}

// appendFamilies encodes the metrics of a block.
func (e *Encoder) appendFamilies(b *block, families []*family) (records []byte, points int) {
	e.metrics = e.metrics[:0]
	for _, f := range families {
		var n int
		e.metrics, n = f.append(e, e.metrics, b)
		points += n
	}
	return e.metrics, points
}
