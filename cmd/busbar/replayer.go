// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/router"
)

const (
	// ahead bounds the messages that wait for the destination while a replay goes on, live ones included, and so how long live
	// data waits behind it.
	ahead = 1000
	// aheadShare bounds what waits to one part in so many of what its stream may hold, so that a replay drives nothing out.
	aheadShare = 4

	lookAhead = 200 * time.Millisecond // how often the backlog of the destination is looked at
	exporters = "exporter"             // name of the consumer of each destination's stream
)

// replayer is a replay at work.
type replayer struct {
	*replaySettings
	bus  *bus.Bus
	root subject.Root
	way  *router.Passage
	show *progress

	reader        *bus.Reader
	first, last   uint64    // messages of the window, by sequence, and more
	position      time.Time // when the newest message that is done with was stored
	sent, skipped int       // records
	left          map[string]int
	begun, due    time.Time // when the next message may be sent
	looked        time.Time
	waiting       string // what for, "" if for nothing
	ended         bool
}

// prepare finds the window, and checks that the destination can take it.
func (r *replayer) prepare(ctx context.Context) error {
	past, err := r.bus.Stream(ctx, r.root.OTLPStream().Name)
	if err != nil {
		return err
	}
	to, err := r.bus.Stream(ctx, r.root.OutStream(r.to).Name)
	if errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("destination %s has no stream on the bus: declare it, and let router and exporter take it up", r.to)
	}
	if err != nil {
		return err
	}
	if exporter := to.Metadata[subject.MetaExporter]; slices.Contains(accumulating(), exporter) && r.matcher.takesSignal(subject.Metrics) {
		return fmt.Errorf("destination %s (%s) adds up deltas, and would count those of metrics twice: leave them out with --match signal=traces,signal=logs", r.to, exporter)
	}
	r.last = past.Last
	r.reader = r.bus.Read(bus.ReaderSpec{
		Stream: r.root.OTLPStream().Name, Filters: []string{r.matcher.filter(r.root)}, After: r.after, Since: r.from.at, MaxMessages: 64,
	})
	r.first = r.after + 1
	if r.from.at.Before(past.FirstAt) && past.Messages > 0 && r.after == 0 {
		r.show.line("the bus has nothing from before " + past.FirstAt.UTC().Format(time.RFC3339))
	}
	return r.reader.Begin(ctx)
}

// accumulating are exporters for which a delta that comes twice counts twice.
func accumulating() []string { return []string{"prometheus", "prometheusremotewrite"} }

func (m matcher) takesSignal(s subject.Signal) bool {
	return matcher{"signal": m["signal"]}.takes(subject.OTLPParts{Signal: s})
}

// run sends the window until it is done, ctx ends or something fails.
func (r *replayer) run(ctx context.Context) error {
	defer r.reader.Close()
	r.begun = time.Now()
	r.due = r.begun
	for r.reader.Pending() > 0 {
		batch, err := r.reader.Next(ctx)
		for _, d := range batch {
			if d.Sequence > r.last || d.Time.After(r.until.at) {
				r.ended = true
				return nil
			}
			if err := r.one(ctx, d); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
	r.ended = true
	return nil
}

// one sends what becomes of one message.
func (r *replayer) one(ctx context.Context, d *bus.Delivery) error {
	if parts, ok := r.root.ParseOTLP(d.Subject); ok && r.matcher.takes(parts) {
		if err := r.room(ctx); err != nil {
			return err
		}
		msgs, left := r.way.Take(ctx, d, r.id)
		if len(msgs) > 0 {
			if err := r.bus.Publish(ctx, msgs...); err != nil {
				return err
			}
		}
		records := 0
		for _, m := range msgs {
			records += m.Items
		}
		r.sent += records
		for reason, n := range left {
			r.left[reason] += n
			r.skipped += n
		}
		if err := r.pace(ctx, records); err != nil {
			return err
		}
	}
	if r.position.IsZero() {
		r.first = d.Sequence
	}
	r.after, r.position = d.Sequence, d.Time
	r.show.update(r.status)
	return nil
}

// pace waits until so many records may have been sent.
func (r *replayer) pace(ctx context.Context, records int) error {
	now := time.Now()
	if r.due.Before(now) {
		r.due = now // time in which nothing was sent is not made up for
	}
	r.due = r.due.Add(time.Duration(float64(records) / float64(r.rate) * float64(time.Second)))
	return r.sleep(ctx, r.due.Sub(now))
}

// room waits while the destination has more to take than it may have.
func (r *replayer) room(ctx context.Context) error {
	if time.Since(r.looked) < lookAhead {
		return nil
	}
	defer func() { r.waiting = "" }()
	for {
		why, err := r.crowded(ctx)
		r.looked = time.Now()
		if why == "" || err != nil {
			return err
		}
		r.waiting = why
		r.show.update(r.status)
		if err := r.sleep(ctx, lookAhead); err != nil {
			return err
		}
	}
}

// crowded says what the destination has to take first, "" if there is room.
func (r *replayer) crowded(ctx context.Context) (string, error) {
	stream := r.root.OutStream(r.to).Name
	at, err := r.bus.Position(ctx, stream, exporters)
	if errors.Is(err, bus.ErrNotFound) {
		return "no exporter has taken it up yet", nil
	}
	if err != nil {
		return "", err
	}
	state, err := r.bus.Stream(ctx, stream)
	if err != nil {
		return "", err
	}
	pending := at.Pending + uint64(at.Unacked)
	bytes := float64(pending) * float64(state.Bytes) / float64(max(1, state.Messages))
	if pending > ahead || state.MaxBytes > 0 && bytes > float64(state.MaxBytes)/aheadShare {
		return fmt.Sprintf("%s has %d messages to take first", r.to, pending), nil
	}
	return "", nil
}

func (r *replayer) sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *replayer) done() bool { return r.ended }

// finish says what was done.
func (r *replayer) finish(w io.Writer) error {
	r.show.end()
	_, err := fmt.Fprintf(w, "done: %d records sent to %s in %v%s\n", r.sent, r.to, time.Since(r.begun).Round(time.Second), r.leftOut())
	return err
}

// leftOut lists what was not sent, by reason.
func (r *replayer) leftOut() string {
	if r.skipped == 0 {
		return ""
	}
	var reasons []string
	for _, reason := range slices.Sorted(maps.Keys(r.left)) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, r.left[reason]))
	}
	return fmt.Sprintf(", %d left out (%s)", r.skipped, strings.Join(reasons, ", "))
}

// status is a line about how far it is.
func (r *replayer) status() string {
	elapsed := time.Since(r.begun)
	part := float64(r.after+1-r.first) / float64(max(1, r.last+1-r.first))
	at := "-"
	if !r.position.IsZero() {
		at = r.position.UTC().Format(time.RFC3339)
	}
	text := fmt.Sprintf("at %s, %d records, %.0f/s, %.0f %%", at, r.sent, float64(r.sent)/max(elapsed.Seconds(), 1e-3), 100*min(max(part, 0), 1))
	if part > 0 && part < 1 {
		text += fmt.Sprintf(", %v left", time.Duration(float64(elapsed)*(1-part)/part).Round(time.Second))
	}
	if r.waiting != "" {
		text += "; waiting: " + r.waiting
	}
	return text
}

// progress shows how far something is: one line that changes on a terminal, a line now and then otherwise.
type progress struct {
	w        io.Writer
	terminal bool
	next     time.Time
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w}
	if f, ok := w.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// update shows a status, if it is time for one.
func (p *progress) update(status func() string) {
	now := time.Now()
	if now.Before(p.next) {
		return
	}
	if p.terminal {
		p.next = now.Add(time.Second / 2)
		fmt.Fprintf(p.w, "\r\x1b[K%s", status())
		return
	}
	p.next = now.Add(10 * time.Second)
	fmt.Fprintln(p.w, status())
}

// line shows a status at once, for good.
func (p *progress) line(status string) {
	p.end()
	fmt.Fprintln(p.w, status)
}

// end clears what a terminal shows.
func (p *progress) end() {
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
