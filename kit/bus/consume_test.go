// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

func TestConsumeHandlesEachMessageOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const n = 2000
	msgs := make([]bus.Msg, n)
	for i := range msgs {
		msgs[i] = bus.Msg{Subject: "s.a", ID: strconv.Itoa(i), Items: 2, Data: []byte(strings.Repeat(strconv.Itoa(i), 100))}
	}
	var seen recorder
	for range 2 { // two processes share the work
		consume(t, f.connect(t), spec(), func(_ context.Context, d *bus.Delivery) error {
			data, err := d.Data()
			if err != nil {
				return err
			}
			id := d.Header(bus.HeaderID)
			if string(data) != strings.Repeat(id, 100) || d.Items() != 2 || d.Attempt != 1 || d.Stream != "S" || d.Sequence == 0 {
				t.Errorf("message %s came as %+v", id, d)
			}
			seen.add(id)
			return nil
		})
	}
	publish(t, f.bus, msgs...)
	f.drained(t)
	counts := map[string]int{}
	for _, id := range seen.with("") {
		counts[id]++
	}
	if len(counts) != n || len(seen.with("")) != n {
		t.Errorf("%d messages were handled %d times, want %d once each", len(counts), len(seen.with("")), n)
	}
}

func TestConsumeFilters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	publish(t, f.bus, bus.Msg{Subject: "s.a"}, bus.Msg{Subject: "s.b"}, bus.Msg{Subject: "s.c"})
	got := make(chan string, 3)
	handler := func(_ context.Context, d *bus.Delivery) error { got <- d.Subject; return nil }
	one := spec()
	one.Filters = []string{"s.b"}
	stop := consume(t, f.bus, one, handler)
	if s := <-got; s != "s.b" {
		t.Errorf("got %s", s)
	}
	stop()
	two := spec()
	two.Filters = []string{"s.b", "s.d"} // a changed filter takes effect on the same consumer
	consume(t, f.bus, two, handler)
	publish(t, f.bus, bus.Msg{Subject: "s.d"})
	if s := <-got; s != "s.d" {
		t.Errorf("got %s", s)
	}
}

func TestConsumeNewOnly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	publish(t, f.bus, bus.Msg{Subject: "s.old"})
	got := make(chan string, 3)
	s := spec()
	s.NewOnly = true
	stop := consume(t, f.bus, s, func(_ context.Context, d *bus.Delivery) error { got <- d.Subject; return nil })
	bustest.Eventually(t, "consumer", func() bool {
		publish(t, f.bus, bus.Msg{Subject: "s.new"})
		return len(got) > 0
	})
	if s := <-got; s != "s.new" {
		t.Errorf("got %s", s)
	}
	stop()
	s.NewOnly = false // where it begins cannot be changed, and is no error
	consume(t, f.bus, s, func(context.Context, *bus.Delivery) error { return nil })
	f.drained(t)
}

func TestConsumeWithoutStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := spec()
	s.Stream = "NONE"
	err := f.bus.Consume(t.Context(), s, nil)
	if err == nil || !strings.Contains(err.Error(), "consume d of NONE: look up stream: ") {
		t.Errorf("got %v", err)
	}
}

func TestRetryDelaysGrow(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answers := f.answers(t)
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error {
		if d.Attempt < 3 {
			return errors.New("not now")
		}
		return nil
	})
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	bustest.Eventually(t, "acknowledged", func() bool { return answers.count("+ACK") == 1 })
	for i, want := range []time.Duration{500 * time.Millisecond, time.Second} {
		if got := delayOf(t, answers.with("-NAK")[i]); got > want || got < want*3/4 {
			t.Errorf("delay %d is %v, want %v less up to a quarter", i, got, want)
		}
	}
}

func TestThrottled(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answers := f.answers(t)
	delays := map[string]time.Duration{"s.told": 300 * time.Millisecond, "s.zero": 0}
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error {
		if d.Attempt == 1 {
			return fmt.Errorf("export: %w", bus.Throttled(delays[d.Subject], nil))
		}
		return nil
	})
	for _, tt := range []struct {
		subject string
		want    time.Duration
	}{{"s.told", 300 * time.Millisecond}, {"s.zero", 100 * time.Millisecond}} {
		before := answers.count("-NAK")
		publish(t, f.bus, bus.Msg{Subject: tt.subject})
		bustest.Eventually(t, "refused", func() bool { return answers.count("-NAK") > before })
		if got := delayOf(t, answers.with("-NAK")[before]); got != tt.want {
			t.Errorf("%s: delay %v, want %v", tt.subject, got, tt.want)
		}
	}
	f.drained(t)
}

func TestLater(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answers := f.answers(t)
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error {
		if d.Attempt == 1 {
			return bus.Later(200 * time.Millisecond)
		}
		return nil
	})
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	f.drained(t)
	if got := answers.with("-NAK"); len(got) != 1 || delayOf(t, got[0]) != 200*time.Millisecond {
		t.Errorf("answers %q", got)
	}
}

func delayOf(t testing.TB, answer string) time.Duration {
	t.Helper()
	var ns int64
	if _, err := fmt.Sscanf(answer, `-NAK {"delay": %d}`, &ns); err != nil {
		t.Fatalf("answer %q: %v", answer, err)
	}
	return time.Duration(ns)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error {
		switch d.Subject {
		case "s.permanent":
			return fmt.Errorf("convert: %w", bus.PermanentOf("half", "malformed", errors.New("line one\r\nline two")))
		case "s.panic":
			panic("boom")
		}
		_, err := d.Data()
		return err
	})
	big := []byte(strings.Repeat("x", 1<<20-120)) // as large as the server takes
	publish(t, f.bus,
		bus.Msg{Subject: "s.permanent", ID: "p1", Items: 7, Header: map[string]string{"Busbar-Source": "n1"}, Data: []byte("body")},
		bus.Msg{Subject: "s.panic"},
		bus.Msg{Subject: "s.garbage", Data: []byte("not s2"), Encoding: "s2"},
		bus.Msg{Subject: "s.unknown", Encoding: "br"},
		bus.Msg{Subject: "s.permanent", Data: big, Encoding: bus.EncodingIdentity},
		bus.Msg{Subject: "s.good"},
	)
	f.drained(t)
	type letter struct{ Subject, Reason, Error, Origin, Stage, Part, ID, Source, Truncated, Body string }
	got := map[string]letter{}
	for _, d := range bustest.ReadAll(t, f.bus, "DEAD", "") {
		body := string(d.Raw())
		if stored, err := time.Parse(time.RFC3339Nano, d.Header(bus.HeaderDeadStored)); err != nil || stored.IsZero() || d.Header(bus.HeaderDeadAttempts) != "1" {
			t.Errorf("stored at %v after %s attempts: %v", stored, d.Header(bus.HeaderDeadAttempts), err)
		}
		got[d.Header(bus.HeaderDeadOrigin)] = letter{
			d.Subject, d.Header(bus.HeaderDeadReason), d.Header(bus.HeaderDeadError), d.Header(bus.HeaderDeadOrigin), d.Header(bus.HeaderDeadStage),
			d.Header(bus.HeaderDeadPart), d.Header(bus.HeaderDeadID), d.Header(bus.HeaderSource), d.Header(bus.HeaderDeadTruncated), body[:min(len(body), 8)],
		}
	}
	for origin, l := range got {
		if origin != "S:1:s.permanent" {
			l.ID = "" // made up by the bus
			got[origin] = l
		}
	}
	want := map[string]letter{
		"S:1:s.permanent": {"dead.tester.malformed", "malformed", "convert: line one  line two", "S:1:s.permanent", "tester", "half", "p1", "n1", "", "body"},
		"S:2:s.panic":     {"dead.tester.panic", "panic", "handler panicked: boom", "S:2:s.panic", "tester", "", "", "", "", ""},
		"S:3:s.garbage":   {"dead.tester.undecodable", "undecodable", "decode message on s.garbage: s2: corrupt input", "S:3:s.garbage", "tester", "", "", "", "", "not s2"},
		"S:4:s.unknown":   {"dead.tester.undecodable", "undecodable", `decode message on s.unknown: unknown content encoding "br"`, "S:4:s.unknown", "tester", "", "", "", "", ""},
		"S:5:s.permanent": {"dead.tester.malformed", "malformed", "convert: line one  line two", "S:5:s.permanent", "tester", "half", "", "", strconv.Itoa(len(big)), "xxxxxxxx"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeadLetterWithoutSubjectIsCounted(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := spec()
	s.DeadSubject = nil
	consume(t, f.bus, s, func(context.Context, *bus.Delivery) error { return bus.Permanent("malformed", nil) })
	publish(t, f.bus, bus.Msg{Subject: "s.a", Items: 3})
	f.drained(t)
	want := "# HELP busbar_dropped_records_total Records that were lost or left out, by the stage that lost them and the reason.\n" +
		"# TYPE busbar_dropped_records_total counter\n" +
		`busbar_dropped_records_total{reason="malformed",stage="tester"} 3` + "\n"
	if err := testutil.GatherAndCompare(f.reg, strings.NewReader(want), "busbar_dropped_records_total"); err != nil {
		t.Error(err)
	}
}

// TestDeadLetterOfLongHeaders gives up on messages whose headers leave no room for those of a dead letter.
func TestDeadLetterOfLongHeaders(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	consume(t, f.bus, spec(), func(context.Context, *bus.Delivery) error { return bus.Permanent("malformed", nil) })
	long := strings.Repeat("x", 64000)
	publish(t, f.bus,
		bus.Msg{Subject: "s.a", Header: map[string]string{"Foreign": long}, Data: []byte("body")},
		bus.Msg{Subject: "s.b", ID: long, Data: []byte("body")},
	)
	f.drained(t)
	got := map[string][]string{}
	for _, d := range bustest.ReadAll(t, f.bus, "DEAD", "") {
		got[d.Header(bus.HeaderDeadOrigin)] = []string{
			d.Header("Foreign"), strconv.Itoa(len(d.Header(bus.HeaderDeadID))), d.Header(bus.HeaderDeadTruncated), string(d.Raw()),
		}
	}
	ids := bustest.ReadAll(t, f.bus, "S", "s.a")[0].Header(bus.HeaderID)
	want := map[string][]string{"S:1:s.a": {"", strconv.Itoa(len(ids)), "4", "body"}, "S:2:s.b": {"", "512", "", "body"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestDeadLetterIsNotLost has nowhere to put a dead letter at first: its message stays until there is.
func TestDeadLetterIsNotLost(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	provision(t, f.bus, bus.StreamSpec{Name: "DEAD", Subjects: []string{"dead.>"}, MaxBytes: 1, DiscardNew: true, Given: true})
	answers := f.answers(t)
	consume(t, f.bus, spec(), func(context.Context, *bus.Delivery) error { return bus.Permanent("malformed", nil) })
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	bustest.Eventually(t, "refused", func() bool { return answers.count("-NAK") > 0 })
	provision(t, f.bus, bus.StreamSpec{Name: "DEAD", Subjects: []string{"dead.>"}, Given: true})
	f.drained(t)
	if got := len(bustest.ReadAll(t, f.bus, "DEAD", "")); got != 1 {
		t.Errorf("%d dead letters, want 1", got)
	}
}

// TestSlowHandlerIsNotRepeated handles a message for many times AckWait, and lets another wait behind it as long.
func TestSlowHandlerIsNotRepeated(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	answers := f.answers(t)
	s := spec()
	s.Workers, s.AckWait = 1, 400*time.Millisecond
	var calls atomic.Int64
	consume(t, f.bus, s, func(context.Context, *bus.Delivery) error {
		before := answers.count("+WPI")
		bustest.Eventually(t, "progress told", func() bool { return answers.count("+WPI") >= before+5 })
		calls.Add(1)
		return nil
	})
	publish(t, f.bus, bus.Msg{Subject: "s.a"}, bus.Msg{Subject: "s.b"})
	f.drained(t)
	if calls.Load() != 2 {
		t.Errorf("handler ran %d times, want 2", calls.Load())
	}
}

func TestStopFinishesAndHandsBack(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := spec()
	s.Workers = 1
	begun, finish := make(chan struct{}), make(chan struct{})
	var mine atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- f.bus.Consume(ctx, s, func(ctx context.Context, _ *bus.Delivery) error {
			mine.Add(1)
			close(begun)
			<-finish
			return ctx.Err() // not cancelled: there is time to drain
		})
	}()
	publish(t, f.bus, bus.Msg{Subject: "s.1"}, bus.Msg{Subject: "s.2"}, bus.Msg{Subject: "s.3"})
	<-begun
	cancel()

	// AckWait is half a minute: another process gets the rest so soon only because it was handed back.
	var others recorder
	consume(t, f.connect(t), s, func(_ context.Context, d *bus.Delivery) error { others.add(d.Subject); return nil })
	bustest.Eventually(t, "the rest is handled", func() bool { return len(others.with("")) == 2 })
	select {
	case <-ended:
		t.Fatal("ended before its handler")
	default:
	}
	close(finish)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	f.drained(t)
	if mine.Load() != 1 || len(others.with("")) != 2 {
		t.Errorf("handled %d and %d messages, want 1 and 2", mine.Load(), len(others.with("")))
	}
}

func TestDrainTimeoutCancelsHandlers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s := spec()
	s.DrainTimeout = 20 * time.Millisecond
	begun := make(chan struct{})
	stop := consume(t, f.bus, s, func(ctx context.Context, _ *bus.Delivery) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	publish(t, f.bus, bus.Msg{Subject: "s.a"})
	<-begun
	stop()
	again := make(chan int, 1)
	consume(t, f.bus, spec(), func(_ context.Context, d *bus.Delivery) error { again <- d.Attempt; return nil })
	if attempt := <-again; attempt != 2 {
		t.Errorf("attempt %d, want 2", attempt)
	}
}
