// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"
)

// TestFaults is the matrix in small: every program is killed and ended a few times, and the back end troubled, in one go each.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := settings{bin: bin, rounds: 3, gone: 10 * time.Second, spell: 2 * time.Second, gap: 600 * time.Millisecond, rate: 100}
	all := []func(context.Context, *lab, settings) error{}
	for _, name := range []string{natsServer, enricher, router, exporter} {
		all = append(all, kill(name, syscall.SIGKILL), kill(name, syscall.SIGTERM))
	}
	// An exporter that is killed was handing over a message with each of its workers, to each of the back ends.
	const workers = 8
	kills := 2 * s.rounds // and those of nats-server
	for _, r := range []row{
		{name: "kills", made: exchanges, kills: true, fault: inTurn(all...)},
		{name: "back end", dead: true, fault: inTurn(away, trouble(slow), trouble(throttles), trouble(fails), trouble(refuses), trouble(resets))},
		{name: "replicas", replicas: 2, fault: replicas},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			o, err := r.run(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.check(kills * workers * batch); err != nil {
				t.Error(err)
			}
			t.Log(o.line())
		})
	}
}

func inTurn(faults ...func(context.Context, *lab, settings) error) func(context.Context, *lab, settings) error {
	return func(ctx context.Context, l *lab, s settings) error {
		for _, f := range faults {
			if err := f(ctx, l, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestCheck checks that each bound is one.
func TestCheck(t *testing.T) {
	t.Parallel()
	sound := outcome{acknowledged: 1000, delivered: 1000}
	for name, c := range map[string]struct {
		change func(*outcome)
		fine   bool
	}{
		"sound":                     {func(*outcome) {}, true},
		"nothing acknowledged":      {func(o *outcome) { o.acknowledged = 0 }, false},
		"one lost":                  {func(o *outcome) { o.lost = 1 }, false},
		"one again without a kill":  {func(o *outcome) { o.repeated = 1 }, false},
		"one again across a kill":   {func(o *outcome) { o.kills, o.repeated = true, 1 }, true},
		"too many across a kill":    {func(o *outcome) { o.kills, o.repeated = true, 2 }, false},
		"a dead letter":             {func(o *outcome) { o.dead = 1 }, false},
		"a dead letter that may be": {func(o *outcome) { o.dead, o.row.dead = 1, true }, true},
		"not run":                   {func(o *outcome) { o.acknowledged, o.skipped = 0, "no disk" }, true},
	} {
		o := sound
		c.change(&o)
		if err := o.check(1); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLedger checks that what was acknowledged and did not come is lost, wherever else it came.
func TestLedger(t *testing.T) {
	t.Parallel()
	var l ledger
	var a, b tally
	l.ack(0)
	l.ack(0)
	l.ack(20)
	now := time.Now()
	for record := range 25 {
		a.came(record, now)
	}
	b.came(29, now)
	b.came(29, now)
	if n := l.acknowledged(); n != 20 {
		t.Errorf("%d are acknowledged, want 20", n)
	}
	if lost := l.lost(&a); lost != 5 {
		t.Errorf("%d are lost, want 5", lost)
	}
	if lost := l.lost(&a, &b); lost != 4 {
		t.Errorf("%d are lost, want 4", lost)
	}
	if distinct, repeated := b.counts(); distinct != 1 || repeated != 1 {
		t.Error(errors.New("what came twice is not counted"))
	}
}
