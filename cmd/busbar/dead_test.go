// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// deadLab is a bus with dead letters: 1 to 3 were for tempo, 4 failed in the pipeline a, 5 is nobody's.
func deadLab(t *testing.T) (*bustest.Server, *bus.Bus) {
	t.Helper()
	server, b := tapServer(t)
	out := testRoot.OutStream("tempo")
	if err := b.Provision(t.Context(), bus.StreamSpec(out)); err != nil {
		t.Fatal(err)
	}
	good := samples(t)[1]
	var msgs []bus.Msg
	for i, body := range []string{"", "junk", ""} {
		m := bus.Msg{Subject: testRoot.Out("tempo", subject.Traces, i), ID: fmt.Sprint("t", i), Items: 1, Data: good.Data, Header: map[string]string{"Own": "kept"}}
		if body != "" {
			m.Data = []byte(body)
		}
		msgs = append(msgs, m)
	}
	if err := b.Publish(t.Context(), append(msgs, good)...); err != nil {
		t.Fatal(err)
	}
	fail(t, b, out.Name, "exporter", bus.Permanent("malformed", errors.New("400 Bad Request: no\nway")))
	fail(t, b, testRoot.OTLPStream().Name, "router", bus.PermanentOf("a", "undecodable", errors.New("not OTLP")))
	if err := b.Publish(t.Context(), bus.Msg{Subject: testRoot.Dead("someone", "else"), Data: []byte{1}}); err != nil {
		t.Fatal(err)
	}
	return server, b
}

// fail has a service give up on all that a stream holds.
func fail(t *testing.T, b *bus.Bus, stream, service string, why error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	left := len(bustest.ReadAll(t, b, stream, ""))
	before := len(bustest.ReadAll(t, b, testRoot.DeadStream().Name, ""))
	go func() {
		ended <- b.Consume(ctx, bus.ConsumerSpec{
			Stream: stream, Durable: service, Workers: 1,
			DeadSubject: func(reason string) string { return testRoot.Dead(service, reason) },
		}, func(context.Context, *bus.Delivery) error { return why })
	}()
	bustest.Eventually(t, "all is given up", func() bool {
		return len(bustest.ReadAll(t, b, testRoot.DeadStream().Name, "")) == before+left
	})
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func busbar(t *testing.T, server *bustest.Server, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := program(t.Context(), append(args, "--nats-url", server.URL()), noEnv, &out, io.Discard)
	return out.String(), err
}

func listed(t *testing.T, server *bustest.Server, args ...string) []letter {
	t.Helper()
	out, err := busbar(t, server, append([]string{"dead", "list", "--json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	var letters []letter
	for text := range strings.Lines(out) {
		var l letter
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatal(err)
		}
		letters = append(letters, l)
	}
	return letters
}

func numbers(letters []letter) string {
	var ns []uint64
	for _, l := range letters {
		ns = append(ns, l.Sequence)
	}
	return fmt.Sprint(ns)
}

func TestDeadList(t *testing.T) {
	t.Parallel()
	server, _ := deadLab(t)
	all := listed(t, server)
	if len(all) != 5 {
		t.Fatalf("%d letters", len(all))
	}
	first := all[0]
	if first.Time.IsZero() || first.Stored == "" || first.Bytes == 0 {
		t.Errorf("%+v", first)
	}
	first.Time, first.Stored, first.Bytes = all[4].Time, "", 0
	want := letter{
		Sequence: 1, Time: all[4].Time, Service: "exporter", Reason: "malformed", Error: "400 Bad Request: no way", Stream: "BUSBAR_OUT_tempo",
		At: 1, Subject: "busbar.out.tempo.traces.0", Destination: "tempo", Attempts: 1, Items: 1,
	}
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	for args, want := range map[string]string{
		"--reason malformed": "[1 2 3]", "--service router": "[4]", "--destination tempo --limit 2": "[2 3]",
		"--since 1h": "[1 2 3 4 5]", "--since 1ns": "[]", "--limit 1": "[5]",
	} {
		if got := numbers(listed(t, server, strings.Fields(args)...)); got != want {
			t.Errorf("list %s: %s, want %s", args, got, want)
		}
	}
	text, err := busbar(t, server, "dead", "list", "--limit", "3")
	if err != nil || !strings.HasPrefix(text, "SEQ  TIME ") || !strings.Contains(text, "busbar.otlp.traces.default._.shop") ||
		!strings.HasSuffix(text, "the newest 3 of 5; --limit 0 lists all\n") {
		t.Errorf("%s%v", text, err)
	}
}

func TestDeadShow(t *testing.T) {
	t.Parallel()
	server, _ := deadLab(t)
	out, err := busbar(t, server, "dead", "show", "1", "2")
	if err != nil {
		t.Fatal(err)
	}
	lines := printed(t, out)
	if len(lines) != 2 || !bytes.Contains(lines[0].Payload, []byte(`"name":"GET /<&>"`)) || lines[0].Headers[bus.HeaderDeadReason] != "malformed" ||
		string(lines[1].Data) != "junk" || lines[1].Error == "" {
		t.Errorf("%s", out)
	}
	if _, err := busbar(t, server, "dead", "show", "99"); err == nil || err.Error() != "no dead letter has number 99" {
		t.Error(err)
	}
}

func TestDeadRedrive(t *testing.T) {
	t.Parallel()
	server, b := deadLab(t)
	out, err := busbar(t, server, "dead", "redrive", "--all")
	if want := "5 stays: its headers do not say where it came from\n4 sent back, 1 stay\n"; err != nil || out != want {
		t.Fatalf("%s%v", out, err)
	}
	if got := numbers(listed(t, server)); got != "[5]" {
		t.Errorf("%s are left", got)
	}
	tempo := bustest.ReadAll(t, b, testRoot.OutStream("tempo").Name, "")
	if len(tempo) != 6 {
		t.Fatalf("%d messages for tempo, want 3 twice", len(tempo))
	}
	for i, d := range tempo[3:] {
		if diff := cmp.Diff(tempo[i].Raw(), d.Raw()); diff != "" || tempo[i].Subject != d.Subject {
			t.Errorf("%s is not as %s was: %s", d.Subject, tempo[i].Subject, diff)
		}
		if diff := cmp.Diff(tempo[i].Headers(), d.Headers()); diff != "" {
			t.Error(diff)
		}
	}
	otlp := bustest.ReadAll(t, b, testRoot.OTLPStream().Name, "")
	if len(otlp) != 2 || otlp[1].Header(bus.HeaderPart) != "a" {
		t.Errorf("%d messages for the router, want one twice, for pipeline a alone", len(otlp))
	}
}

// A letter that could not be deleted after it was sent is stored once when it is sent again.
func TestDeadRedriveTwice(t *testing.T) {
	t.Parallel()
	server, b := deadLab(t)
	f := deadFlags{}
	f.at.URL, f.at.Root = server.URL(), string(testRoot)
	desk, err := f.open(t.Context(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer desk.bus.Close()
	for range 2 {
		err := desk.each(t.Context(), func(l letter, d *bus.Delivery) error {
			if l.Sequence > 1 {
				return nil
			}
			return errors.Join(desk.redrive(t.Context(), l, d), desk.redrive(t.Context(), l, d))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := len(bustest.ReadAll(t, b, testRoot.OutStream("tempo").Name, "")); n != 4 {
		t.Errorf("%d messages for tempo, want 4", n)
	}
}

func TestDeadRedriveToNowhere(t *testing.T) {
	t.Parallel()
	server, _ := deadLab(t)
	server.DeleteStream(t, testRoot.OutStream("tempo").Name)
	out, err := busbar(t, server, "dead", "redrive", "2")
	if err == nil || !strings.Contains(err.Error(), "redrive 2: destination tempo has no stream any more") || out != "0 sent back, 0 stay\n" {
		t.Errorf("%s%v", out, err)
	}
	if got := numbers(listed(t, server)); got != "[1 2 3 4 5]" {
		t.Errorf("%s are left", got)
	}
}

func TestDeadPurge(t *testing.T) {
	t.Parallel()
	server, _ := deadLab(t)
	ask := func(answer string, args ...string) (string, error) {
		var out bytes.Buffer
		err := purge(t.Context(), append(args, "--nats-url", server.URL()), noEnv, strings.NewReader(answer), &out, io.Discard)
		return out.String(), err
	}
	for _, answer := range []string{"", "n\n", "what?\n"} {
		if out, err := ask(answer, "--all"); err == nil || !strings.HasPrefix(out, "delete 5 dead letters for good? [y/N] ") {
			t.Errorf("%q: %s%v", answer, out, err)
		}
	}
	if out, err := ask("y\n", "2", "4"); err != nil || !strings.HasSuffix(out, "2 deleted\n") {
		t.Errorf("%s%v", out, err)
	}
	if out, err := ask("", "--all", "--service", "exporter", "--yes"); err != nil || out != "2 deleted\n" {
		t.Errorf("%s%v", out, err)
	}
	if got := numbers(listed(t, server)); got != "[5]" {
		t.Errorf("%s are left", got)
	}
	for _, want := range []string{"1 deleted\n", "no dead letters\n"} {
		if out, err := ask("", "--all", "--yes"); err != nil || out != want {
			t.Errorf("%s%v", out, err)
		}
	}
}
