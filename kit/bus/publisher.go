// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/semaphore"
)

const (
	ackTimeout   = 10 * time.Second // after which a publication is sent again
	noStreamWait = 5 * time.Second  // how long a missing stream may take to appear: a restart, an election, our own repair
	firstRetry   = 100 * time.Millisecond
	lastRetry    = 2 * time.Second

	retriesBeforeLog = 5 // some two seconds
)

// publisher sends publications and matches the acknowledgements of streams to them. The client library has such a part;
// this one bounds bytes instead of messages only, calls back without a goroutine for each message, and outlives reconnections.
type publisher struct {
	bus     *Bus
	prefix  string // of the reply subjects; the id of a publication follows
	room    *semaphore.Weighted
	window  int64 // bytes
	minCost int64 // bytes a message counts at least, so that the window bounds messages as well

	mu      sync.Mutex
	pending map[uint64]*publication
	lastID  uint64
	closing bool
	idle    chan struct{} // closed when closing and nothing is pending

	delays occasion
}

// publication is a message on its way into a stream.
type publication struct {
	id      uint64
	msg     *nats.Msg
	items   int
	cost    int64
	done    func(error)
	release func()
	sending sync.Mutex // held while the connection reads msg

	// Guarded by publisher.mu.
	timer    *time.Timer // fires when it must be sent again
	attempts int
	orphaned time.Time // since when no stream takes it; zero when one may
	err      error     // last passing error
}

func newPublisher(b *Bus, window, messages int) (*publisher, error) {
	if window <= 0 {
		window = defaultWindow
	}
	if messages <= 0 {
		messages = defaultWindowMsgs
	}
	w := &publisher{
		bus:     b,
		prefix:  b.nc.NewInbox() + ".",
		room:    semaphore.NewWeighted(int64(window)),
		window:  int64(window),
		minCost: max(1, int64(window/messages)),
		pending: make(map[uint64]*publication),
		idle:    make(chan struct{}),
	}
	sub, err := b.nc.Subscribe(w.prefix+"*", w.onAck)
	if err != nil {
		return nil, err
	}
	return w, sub.SetPendingLimits(-1, -1) // bounded by the window
}

// prepare checks and encodes msg. The caller acquires room and starts the publication, or releases it.
func (w *publisher) prepare(msg *Msg) (*publication, error) {
	wire, release, err := msg.wire()
	if err == nil {
		if limit := w.bus.nc.MaxPayload(); limit > 0 && int64(wire.Size()) > limit {
			release()
			err = fmt.Errorf("%w: %d bytes with headers, the server takes %d", ErrTooLarge, wire.Size(), limit)
		}
	}
	if err != nil {
		w.bus.metrics.publishErrors.WithLabelValues(w.bus.name, "too_large").Inc()
		return nil, err
	}
	cost := min(max(int64(len(wire.Data)), w.minCost), w.window)
	return &publication{msg: wire, items: items(wire), cost: cost, release: release}, nil
}

func (w *publisher) acquire(ctx context.Context, p *publication) error {
	return w.room.Acquire(ctx, p.cost)
}

func (w *publisher) tryAcquire(p *publication) bool { return w.room.TryAcquire(p.cost) }

// start sends p, which has acquired its room, for the first time.
func (w *publisher) start(p *publication) {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		w.room.Release(p.cost)
		p.release()
		p.done(ErrClosed)
		return
	}
	w.lastID++
	p.id = w.lastID
	p.msg.Reply = w.prefix + strconv.FormatUint(p.id, 36)
	w.pending[p.id] = p
	p.timer = time.AfterFunc(ackTimeout, func() { w.again(p) })
	w.mu.Unlock()
	w.bus.metrics.windowBytes.Add(float64(p.cost))
	w.bus.metrics.windowMessages.Inc()
	w.send(p)
}

// send gives p to the connection. While there is none p waits for resend: the client's own buffer would only hide it.
func (w *publisher) send(p *publication) {
	err := w.write(p)
	switch {
	case err == nil:
	case errors.Is(err, nats.ErrMaxPayload):
		w.end(p, ErrTooLarge)
	case errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrHeadersNotSupported):
		w.end(p, err)
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		w.end(p, ErrClosed)
	default:
		w.retry(p, err)
	}
}

func (w *publisher) write(p *publication) error {
	p.sending.Lock()
	defer p.sending.Unlock()
	w.mu.Lock()
	pending := w.pending[p.id] == p
	w.mu.Unlock()
	switch {
	case !pending:
		return nil // its bytes may be someone else's by now
	case !w.bus.nc.IsConnected():
		return ErrDisconnected
	}
	return w.bus.nc.PublishMsg(p.msg)
}

// retry has p sent again after a delay that grows with its attempts.
func (w *publisher) retry(p *publication, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending[p.id] != p {
		return
	}
	p.err = cause
	if p.attempts >= retriesBeforeLog {
		w.delays.warn(w.bus.log, "publication is delayed", "subject", p.msg.Subject, "attempts", p.attempts, "error", cause)
	}
	p.timer.Reset(backoff(p.attempts, firstRetry, lastRetry))
}

// again sends p once more, if it is still pending.
func (w *publisher) again(p *publication) {
	w.mu.Lock()
	pending := w.pending[p.id] == p
	if pending {
		p.attempts++
		if p.err == nil {
			p.err = errors.New("no acknowledgement arrived in time")
		}
		p.timer.Reset(ackTimeout)
	}
	w.mu.Unlock()
	if pending {
		w.bus.metrics.publishRetries.Inc()
		w.send(p)
	}
}

// resend sends everything pending again: acknowledgements on their way were lost with the connection.
func (w *publisher) resend() {
	w.mu.Lock()
	pending := make([]*publication, 0, len(w.pending))
	for _, p := range w.pending {
		pending = append(pending, p)
	}
	w.mu.Unlock()
	for _, p := range pending {
		w.again(p)
	}
}

// onAck handles the answer of a stream, or of the server on behalf of a missing one.
func (w *publisher) onAck(m *nats.Msg) {
	id, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, w.prefix), 36, 64)
	if err != nil {
		return
	}
	w.mu.Lock()
	p := w.pending[id]
	w.mu.Unlock()
	if p == nil {
		return // answered before, or abandoned
	}
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		w.orphan(p)
		return
	}
	stored, err := parseAck(m.Data)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && passing(api) {
		w.retry(p, err)
		return
	}
	if err == nil {
		w.count(p, stored)
	}
	w.end(p, err)
}

// count counts what was stored. One that was sent more than once may be its own double.
func (w *publisher) count(p *publication, stored ack) {
	w.mu.Lock()
	pending, again := w.pending[p.id] == p, p.attempts > 0
	w.mu.Unlock()
	m, client := w.bus.metrics, w.bus.name
	switch {
	case !pending:
	case stored.Duplicate && !again:
		m.repeatedRecords.WithLabelValues(client, stored.Stream).Add(float64(p.items))
	default:
		m.published.WithLabelValues(client, stored.Stream).Inc()
		m.publishedBytes.WithLabelValues(client, stored.Stream).Add(float64(len(p.msg.Data)))
		m.publishedRecords.WithLabelValues(client, stored.Stream).Add(float64(p.items))
	}
}

// orphan handles a publication that no stream takes now.
func (w *publisher) orphan(p *publication) {
	w.mu.Lock()
	if p.orphaned.IsZero() {
		p.orphaned = time.Now()
	}
	lost := time.Since(p.orphaned) > noStreamWait
	w.mu.Unlock()
	if lost {
		w.end(p, ErrNoStream)
		return
	}
	w.bus.repairSoon()
	w.retry(p, ErrNoStream)
}

// end reports the result of p, once, and gives its room back.
func (w *publisher) end(p *publication, err error) {
	if !w.forget(p) {
		return
	}
	if err != nil {
		w.bus.metrics.publishErrors.WithLabelValues(w.bus.name, errorReason(err)).Inc()
	}
	p.release()
	p.done(err)
}

// abandon gives up on p without calling back, unless it has ended.
func (w *publisher) abandon(p *publication) {
	if w.forget(p) {
		w.bus.metrics.publishErrors.WithLabelValues(w.bus.name, "abandoned").Inc()
		p.release()
	}
}

// forget removes p from the window and tells whether it was there. Afterwards nothing reads its message any more.
func (w *publisher) forget(p *publication) bool {
	w.mu.Lock()
	if w.pending[p.id] != p {
		w.mu.Unlock()
		return false
	}
	delete(w.pending, p.id)
	p.timer.Stop()
	if w.closing && len(w.pending) == 0 {
		close(w.idle)
	}
	w.mu.Unlock()
	p.sending.Lock()   // wait for a write that is going on
	p.sending.Unlock() //nolint:staticcheck // an empty section on purpose
	w.room.Release(p.cost)
	w.bus.metrics.windowBytes.Sub(float64(p.cost))
	w.bus.metrics.windowMessages.Dec()
	return true
}

// close refuses new publications and ends those that are still pending after the timeout with ErrClosed.
func (w *publisher) close(timeout time.Duration) {
	w.mu.Lock()
	w.closing = true
	empty := len(w.pending) == 0
	w.mu.Unlock()
	if !empty && w.bus.nc.IsConnected() {
		select {
		case <-w.idle:
		case <-time.After(timeout):
		}
	}
	w.mu.Lock()
	rest := make([]*publication, 0, len(w.pending))
	for _, p := range w.pending {
		rest = append(rest, p)
	}
	w.mu.Unlock()
	for _, p := range rest {
		w.end(p, ErrClosed)
	}
}

// ack is the answer of a stream to a publication.
type ack struct {
	Stream    string              `json:"stream"`
	Sequence  uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"` // it has a message of this id already
	Error     *jetstream.APIError `json:"error"`
}

// parseAck reads an answer. A nil error says that the stream has the message.
func parseAck(data []byte) (ack, error) {
	var a ack
	if err := json.Unmarshal(data, &a); err != nil {
		return a, fmt.Errorf("parse acknowledgement: %w", err)
	}
	if a.Error != nil {
		return a, classify(a.Error)
	}
	if a.Stream == "" {
		return a, errors.New("parse acknowledgement: it names no stream")
	}
	return a, nil
}
