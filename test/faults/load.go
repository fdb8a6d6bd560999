// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
)

const (
	root     = subject.DefaultRoot
	services = 8  // that records are of
	batch    = 10 // records a message
)

// load publishes messages at a fixed rate, and notes which the bus acknowledged.
type load struct {
	bus    *bus.Bus
	made   maker
	acked  ledger
	cancel context.CancelFunc
	done   sync.WaitGroup // of the publishing, and of what is on its way
}

// maker makes a message with batch records from the one numbered first on, published now.
type maker func(message, first int, now time.Time) (bus.Msg, error)

// publish begins a load of so many messages a second.
func publish(ctx context.Context, url string, rate int, made maker) (*load, error) {
	b, err := bus.Connect(ctx, bus.Config{URL: url, Name: "load"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	for _, s := range []subject.Stream{root.OTLPStream(), root.RawStream()} {
		if err := b.Provision(ctx, bus.StreamSpec(s)); err != nil {
			b.Close()
			return nil, err
		}
	}
	l := &load{bus: b, made: made}
	ctx, l.cancel = context.WithCancel(ctx)
	l.done.Go(func() { l.keepOn(ctx, time.Second/time.Duration(rate)) })
	return l, nil
}

// jump is how far clocks are set back and forth: less than how late a delta may be.
const jump = 5 * time.Minute

// jumping makes messages of somebody whose clock is set twice in a hundred messages.
func jumping(made maker) maker {
	return func(message, first int, now time.Time) (bus.Msg, error) {
		return made(message, first, now.Add(jump*time.Duration(message/50%3-1)))
	}
}

// keepOn publishes until ctx ends. What the window has no room for, because the bus is away, is not published.
func (l *load) keepOn(ctx context.Context, every time.Duration) {
	next := time.Now()
	for message := 0; ; message++ {
		if pause(ctx, time.Until(next)) != nil {
			return
		}
		next = next.Add(every)
		first := message * batch
		m, err := l.made(message, first, time.Now())
		if err != nil {
			panic(err) // of our own making
		}
		l.done.Add(1)
		err = l.bus.PublishAsync(m, func(err error) {
			if err == nil {
				l.acked.ack(first)
			}
			l.done.Done()
		})
		if err != nil {
			l.done.Done()
			if !errors.Is(err, bus.ErrWindowFull) {
				return
			}
		}
	}
}

// end stops the load and waits until it is known of each message what became of it. It may be called again.
func (l *load) end() {
	l.cancel()
	l.done.Wait()
	l.bus.Close()
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// spans makes OpenTelemetry spans, as whoever has them publishes them.
func spans(message, first int, now time.Time) (bus.Msg, error) {
	service := fmt.Sprintf("load-%d", message%services)
	t := ptrace.NewTraces()
	rs := t.ResourceSpans().AppendEmpty()
	rs.Resource().Attributes().PutStr("service.name", service)
	ss := rs.ScopeSpans().AppendEmpty()
	ss.Spans().EnsureCapacity(batch)
	for record := first; record < first+batch; record++ {
		s := ss.Spans().AppendEmpty()
		s.SetName("GET /cart")
		s.SetKind(ptrace.SpanKindServer)
		s.SetTraceID(traceID(record))
		s.SetSpanID(spanID(record))
		s.SetStartTimestamp(pcommon.NewTimestampFromTime(now))
		s.SetEndTimestamp(pcommon.NewTimestampFromTime(now.Add(time.Millisecond)))
		s.Attributes().PutStr("url.path", "/cart/"+strconv.Itoa(record))
		s.Attributes().PutInt("http.response.status_code", 200)
	}
	data, err := ptraceotlp.NewExportRequestFromTraces(t).MarshalProto()
	return bus.Msg{
		Subject: root.OTLP(subject.Traces, subject.DefaultTenant, "", service), ID: "load-" + strconv.Itoa(message),
		Header: map[string]string{subject.HeaderSchema: subject.SchemaTraces}, Items: batch, Data: data,
	}, err
}

func traceID(record int) (id pcommon.TraceID) {
	binary.BigEndian.PutUint64(id[:], uint64(record)+1)  //nolint:gosec // Not negative.
	binary.BigEndian.PutUint64(id[8:], uint64(record)+1) //nolint:gosec // Not negative.
	return id
}

// exchanges makes raw exchanges, as a probe does. The spans that the enricher makes of them have their span ids.
func exchanges(message, first int, now time.Time) (bus.Msg, error) {
	b := &eventv1.ExchangeBatch{
		Origin:    &eventv1.Origin{Node: "load", Run: "1", Sequence: uint64(message)}, //nolint:gosec // Not negative.
		Processes: []*eventv1.Process{{Pid: 100, OtelServiceName: fmt.Sprintf("load-%d", message%services)}},
		Addresses: [][]byte{{10, 0, 0, 1}, {10, 0, 0, 2}},
	}
	for record := first; record < first+batch; record++ {
		trace, span := traceID(record), spanID(record)
		b.Exchanges = append(b.Exchanges, &eventv1.Exchange{
			Role: eventv1.Role_ROLE_SERVER, Outcome: eventv1.Outcome_OUTCOME_COMPLETE,
			StartUnixNano: uint64(now.UnixNano()), RequestEndNano: 1000, ResponseStartNano: 500_000, EndNano: 1_000_000, //nolint:gosec // After 1970.
			RequestBytes: 120, ResponseBytes: 300, LocalPort: 8080, PeerAddress: 1, PeerPort: 40000,
			TraceId: trace[:], SpanId: span[:], TraceFlags: 1,
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{Method: "GET", Path: "/cart", Status: 200, MinorVersion: 1}},
		})
	}
	data, err := b.MarshalVT()
	return bus.Msg{
		Subject: root.RawExchange("load"), ID: "load-" + strconv.Itoa(message),
		Header: map[string]string{subject.HeaderSchema: subject.SchemaExchanges}, Items: batch, Data: data,
	}, err
}
