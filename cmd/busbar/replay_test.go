// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// replayLab is a flow in which ten messages of two spans have gone to the destination live, and none yet to the new one.
func replayLab(t *testing.T) (f *flow, live, fresh *receiver) {
	t.Helper()
	live, fresh = newReceiver(t), newReceiver(t)
	f = startFlow(t, destinationOf("live", live, "")+destinationOf("fresh", fresh, "")+pipelineOf("all", "to: [live]"))
	for i := range 10 {
		f.publish(t, []string{"shop", "stock"}[i%2], fmt.Sprint("a", i), fmt.Sprint("b", i))
	}
	bustest.Eventually(t, "live has all", live.has(20))
	f.declare(t, destinationOf("live", live, "")+destinationOf("fresh", fresh, "")+pipelineOf("all", "to: [live]")+
		pipelineOf("clean", `to: [fresh], signals: [traces], steps: [{filter: 'span.name == "a0"'}, {redact: {creditCards: true}}]`))
	bustest.Eventually(t, "fresh has a stream", func() bool {
		_, err := f.bus.Position(t.Context(), testRoot.OutStream("fresh").Name, exporters)
		return err == nil
	})
	return f, live, fresh
}

func TestReplayGoesThroughThePipelines(t *testing.T) {
	t.Parallel()
	f, live, fresh := replayLab(t)
	out, err := busbar(t, f.server, "replay", "--from", "-1h", "--to", "fresh", "--config", f.config)
	if err != nil || !strings.Contains(out, "done: 19 records sent to fresh in ") || !strings.Contains(out, ", 1 left out (filter 1)") {
		t.Fatalf("%s%v", out, err)
	}
	bustest.Eventually(t, "fresh has the past", fresh.has(19))
	if note := fresh.note("b0"); note != "card ****" {
		t.Errorf("%q", note)
	}
	if _, all := live.spans(); all != 20 {
		t.Errorf("live has %d spans, want 20 as before", all)
	}
	for _, d := range bustest.ReadAll(t, f.bus, testRoot.OutStream("fresh").Name, "") {
		if d.Header(bus.HeaderSource) != "replay" || d.Header(bus.HeaderSchema) != subject.SchemaTraces {
			t.Errorf("headers %v", d.Headers())
		}
	}
}

func TestReplayAsIs(t *testing.T) {
	t.Parallel()
	f, live, _ := replayLab(t)
	for range 2 { // what is asked for twice is sent twice
		if out, err := busbar(t, f.server, "replay", "--from", "-1h", "--to", "live", "--as-is", "--match", "service=shop,signal=traces"); err != nil {
			t.Fatalf("%s%v", out, err)
		}
	}
	bustest.Eventually(t, "half of it came again, twice", func() bool { _, all := live.spans(); return all == 40 })
	if a, b := live.times("a0"), live.times("a1"); a != 3 || b != 1 || live.note("a0") != "card 4111 1111 1111 1111" {
		t.Errorf("%d of the shop, %d of the others, %q", a, b, live.note("a0"))
	}
}

func TestReplayWindow(t *testing.T) {
	t.Parallel()
	f, live, _ := replayLab(t)
	all := bustest.ReadAll(t, f.bus, testRoot.OTLPStream().Name, "")
	from, until := all[3].Time.Format(time.RFC3339Nano), all[5].Time.Format(time.RFC3339Nano)
	out, err := busbar(t, f.server, "replay", "--from", from, "--until", until, "--to", "live", "--as-is")
	if err != nil || !strings.Contains(out, "done: 6 records") {
		t.Fatalf("%s%v", out, err)
	}
	bustest.Eventually(t, "they came again", func() bool { _, all := live.spans(); return all == 26 })
	if out, err := busbar(t, f.server, "replay", "--from", "-1h", "--until", "-30m", "--to", "live", "--as-is"); err != nil || !strings.Contains(out, "done: 0 records") {
		t.Errorf("%s%v", out, err)
	}
}

// A replay waits while its destination has more to take than it may have; interrupted, it says how to go on.
func TestReplayWaitsAndGoesOn(t *testing.T) {
	t.Parallel()
	f, live, _ := replayLab(t)
	live.answers(503)
	var backlog []bus.Msg
	for i := range ahead + 1 {
		backlog = append(backlog, bus.Msg{Subject: testRoot.Out("live", subject.Traces, 0), ID: fmt.Sprint("late-", i), Data: samples(t)[1].Data})
	}
	if err := f.bus.Publish(t.Context(), backlog...); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out := tapWriter{make(chan []byte, 100)}
	ended := make(chan error, 1)
	go func() {
		ended <- program(ctx, []string{"replay", "--from", "-1h", "--to", "live", "--as-is", "--nats-url", f.server.URL()}, noEnv, out, io.Discard)
		close(out.wrote)
	}()
	for told := false; !told; {
		text, more := <-out.wrote
		if !more {
			t.Fatal("it ended")
		}
		told = bytes.Contains(text, []byte("waiting: live has 1001 messages to take first"))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	var text bytes.Buffer
	for p := range out.wrote {
		text.Write(p)
	}
	_, command, ok := strings.Cut(text.String(), "not finished; to go on:\n  busbar ")
	if !ok {
		t.Fatalf("printed %q", text.String())
	}
	live.answers(0)
	var rest bytes.Buffer
	if err := program(t.Context(), strings.Fields(command), noEnv, &rest, io.Discard); err != nil || !strings.Contains(rest.String(), "done: 20 records") {
		t.Errorf("%s: %s%v", command, rest.String(), err)
	}
	// The same place again is the same replay: the bus has it all.
	if err := program(t.Context(), strings.Fields(command), noEnv, io.Discard, io.Discard); err != nil {
		t.Error(err)
	}
	if n := len(bustest.ReadAll(t, f.bus, testRoot.OutStream("live").Name, "")); n != 10+ahead+1+10 {
		t.Errorf("%d messages for live", n)
	}
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	f, live, fresh := replayLab(t)
	page := "---\napiVersion: busbar.dev/v1\nkind: Destination\nmetadata: {name: scrape}\nspec: {prometheus: {endpoint: 127.0.0.1:0}}\n"
	f.declare(t, destinationOf("live", live, "")+destinationOf("fresh", fresh, "")+page+pipelineOf("all", "to: [live, scrape]"))
	bustest.Eventually(t, "scrape has a stream", func() bool {
		_, err := f.bus.Stream(t.Context(), testRoot.OutStream("scrape").Name)
		return err == nil
	})
	for _, tc := range []struct{ args, want string }{
		{"--to live", "want --from TIME"},
		{"--from -1h", "want --to NAME"},
		{"--from 1h --to live", "want a time such as -1h"},
		{"--from -1h --until -2h --to live --as-is", "is not before --until"},
		{"--from -1h --to live", "want --config PATH"},
		{"--from -1h --to live --as-is --through all", "not both"},
		{"--from -1h --to live --as-is --match color=red", `got "color=red"`},
		{"--from -1h --to live --as-is --resume x", "is no place"},
		{"--from -1h --to fresh --config " + f.config, "leads to destination fresh; --as-is sends it everything as it came, unredacted"},
		{"--from -1h --to live --through none --config " + f.config, "no pipeline none in "},
		{"--from -1h --to nobody --as-is", "destination nobody has no stream on the bus"},
		{"--from -1h --to scrape --config " + f.config, "destination scrape (prometheus) adds up deltas"},
	} {
		if out, err := busbar(t, f.server, append([]string{"replay"}, strings.Fields(tc.args)...)...); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("replay %s: %s%v, want %q", tc.args, out, err, tc.want)
		}
	}
}
