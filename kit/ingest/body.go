// SPDX-License-Identifier: Apache-2.0

package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/klauspost/compress/snappy"
)

// Body is the body of a request. Close gives its memory back, after which Data must not be used; call it when the request is done.
type Body struct {
	Data []byte

	gate    *Gate
	tenant  string
	held    int64
	buffer  []byte // that Data is in
	working bool
}

// Receive reads the body of a request of a tenant, as it comes. Its memory counts until Close. It returns a Refusal: 413 if it is too long,
// 408 if the sender is too slow, 429 or 503 if there is no room now, 400 if the sender broke off. A body that is received counts as
// a request being worked on.
func (g *Gate) Receive(w http.ResponseWriter, r *http.Request, tenant string) (*Body, error) {
	b := &Body{gate: g, tenant: tenant}
	g.enter(tenant)
	if err := b.receive(w, r); err != nil {
		b.Close()
		g.metrics.refusedVisits.WithLabelValues(g.metrics.service, AsRefusal(err).Reason).Inc()
		return nil, err
	}
	g.metrics.bytes.WithLabelValues(g.metrics.service, "received").Add(float64(len(b.Data)))
	return b, nil
}

func (b *Body) receive(w http.ResponseWriter, r *http.Request) error {
	limits := &b.gate.limits
	if r.ContentLength > limits.Received {
		return tooLong("received", limits.Received)
	}
	source := &slowly{body: r.Body, set: http.NewResponseController(w).SetReadDeadline, start: time.Now(), limits: limits}
	data, err := b.readAll(source, r.ContentLength, limits.Received, "received")
	source.free()
	if err != nil {
		return err
	}
	b.Data, b.buffer = data, data
	if err := b.gate.work(b.tenant); err != nil {
		return err
	}
	b.working = true
	return nil
}

func tooLong(state string, limit int64) *Refusal {
	return Refuse(http.StatusRequestEntityTooLarge, "too_long", "the body is longer than %d bytes (%s)", limit, state)
}

// slowly is a body that must come at a pace.
type slowly struct {
	body   io.Reader
	set    func(deadline time.Time) error // of the next read
	start  time.Time
	limits *Limits
	n      int64
	until  time.Time
}

// Read implements io.Reader.
func (s *slowly) Read(p []byte) (int, error) {
	until := s.start.Add(s.limits.Patience + time.Duration(s.n/s.limits.Pace)*time.Second)
	if until != s.until {
		s.until = until
		if err := s.set(until); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return 0, fmt.Errorf("set deadline: %w", err)
		}
	}
	n, err := s.body.Read(p)
	s.n += int64(n)
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = Refuse(http.StatusRequestTimeout, "slow", "the body comes too slowly: %d bytes in %v", s.n, time.Since(s.start).Round(time.Second))
	default:
		err = Refuse(http.StatusBadRequest, "broken_off", "the body ends early: %w", err)
	}
	return n, err
}

// free has nothing more to do with what follows the body.
func (s *slowly) free() { _ = s.set(time.Time{}) }

// readAll reads r to its end into memory that is held before it is used. Length is how much will come, or -1. What b holds besides, it
// holds on to.
func (b *Body) readAll(r io.Reader, length, limit int64, state string) ([]byte, error) {
	data, err := b.allocate(firstBuffer)
	for err == nil {
		if len(data) == cap(data) {
			if data, err = b.grow(data, length, limit); err != nil {
				break
			}
		}
		var n int
		n, err = r.Read(data[len(data):cap(data)])
		if data = data[:len(data)+n]; int64(len(data)) > limit {
			err = tooLong(state, limit)
		}
	}
	if errors.Is(err, io.EOF) {
		return data, nil
	}
	putBuffer(data)
	return nil, err
}

// grow has data in a larger buffer: of the next size, but not of more than will come or may come.
func (b *Body) grow(data []byte, length, limit int64) ([]byte, error) {
	old := int64(cap(data))
	size := limit + 1 // to see what is beyond it
	if old <= length && length < limit {
		size = length + 1 // to see the end
	}
	grown, err := b.allocate(min(size, nextBuffer(old)))
	if err != nil {
		return data, err
	}
	grown = append(grown, data...)
	putBuffer(data)
	b.drop(old)
	return grown, nil
}

// allocate returns an empty buffer that holds size bytes or more.
func (b *Body) allocate(size int64) ([]byte, error) {
	size = bufferSize(size)
	if err := b.hold(size); err != nil {
		return nil, err
	}
	return getBuffer(size), nil
}

func (b *Body) hold(bytes int64) error {
	if err := b.gate.hold(b.tenant, bytes); err != nil {
		return err
	}
	b.held += bytes
	return nil
}

func (b *Body) drop(bytes int64) {
	_ = b.gate.hold(b.tenant, -bytes) // giving back succeeds
	b.held -= bytes
}

// Decode decompresses Data, in an encoding as Content-Encoding names it: several are parted by commas, and "" and "identity" are none.
// It returns a Refusal: 413 if what comes out is too long, 415 if it does not know the encoding, 400 if Data is not of it.
func (b *Body) Decode(ctx context.Context, encoding string) error {
	for _, name := range encodings(encoding) {
		if err := b.decode(ctx, name); err != nil {
			b.gate.metrics.refusedVisits.WithLabelValues(b.gate.metrics.service, AsRefusal(err).Reason).Inc()
			return err
		}
	}
	b.gate.metrics.bytes.WithLabelValues(b.gate.metrics.service, "decoded").Add(float64(len(b.Data)))
	return nil
}

func (b *Body) decode(ctx context.Context, name string) error {
	codec, ok := codecs()[name]
	switch {
	case len(b.Data) == 0:
		return nil // of nothing some make nothing
	case !ok:
		return Refuse(http.StatusUnsupportedMediaType, "encoding", "encoding %.40q is not known", name)
	}
	leave, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer leave()
	before := b.held
	data, err := b.undo(name, codec)
	if err != nil {
		if _, ours := errors.AsType[*Refusal](err); ours {
			return err
		}
		return Refuse(http.StatusBadRequest, "compression", "the body is not %s: %w", name, err)
	}
	putBuffer(b.buffer)
	b.Data, b.buffer = data, data
	b.drop(before)
	return nil
}

func (b *Body) undo(name string, open codec) ([]byte, error) {
	limit := b.gate.limits.Decoded
	if name == "snappy" && !bytes.HasPrefix(b.Data, []byte(framed)) {
		return b.unsnap(limit)
	}
	r, release, err := open(b.Data)
	if err != nil {
		return nil, err
	}
	defer release()
	return b.readAll(r, -1, limit, "decoded")
}

// unsnap undoes a block of snappy, which comes as a whole.
func (b *Body) unsnap(limit int64) ([]byte, error) {
	n, err := snappy.DecodedLen(b.Data)
	switch {
	case err != nil:
		return nil, err
	case int64(n) > limit:
		return nil, tooLong("decoded", limit)
	}
	if err := b.hold(int64(n)); err != nil {
		return nil, err
	}
	return snappy.Decode(make([]byte, n), b.Data)
}

// Work calls fn, which takes that much memory besides, when it is its turn: few do so at a time. It returns the error of fn, or a Refusal: 413 if it
// is more memory than a tenant may ever hold, 429 or 503 if it is too much now, 408 if the sender has gone.
func (b *Body) Work(ctx context.Context, bytes int64, fn func() error) error {
	leave, err := b.turn(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := b.hold(bytes); err != nil {
		if limit := b.gate.limits.TenantHeld; b.held+bytes > limit {
			err = Refuse(http.StatusRequestEntityTooLarge, "too_long", "work on the body takes more than %d bytes", limit)
		}
		b.gate.metrics.refusedVisits.WithLabelValues(b.gate.metrics.service, AsRefusal(err).Reason).Inc()
		return err
	}
	defer b.drop(bytes)
	return fn()
}

// turn waits for one of the places of those whose work takes memory.
func (b *Body) turn(ctx context.Context) (leave func(), err error) {
	select {
	case b.gate.turns <- struct{}{}:
		return func() { <-b.gate.turns }, nil
	case <-ctx.Done():
		return nil, Refuse(http.StatusRequestTimeout, "gone", "the sender is gone")
	}
}

// Close gives the memory back.
func (b *Body) Close() {
	if b.gate != nil {
		putBuffer(b.buffer)
		b.gate.leave(b.tenant, b.held, b.working)
		b.gate, b.Data, b.buffer = nil, nil, nil
	}
}
