// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"time"
)

// settings say how long rows take and what they use.
type settings struct {
	bin    string        // folder with the programs
	rounds int           // of each kill
	gone   time.Duration // that the back end is away
	spell  time.Duration // of every other trouble
	gap    time.Duration // between two kills, on average
	rate   int           // messages a second
}

// row is one line of the table: a fault, and what may come of it.
type row struct {
	name     string
	made     maker // of the load; nil: spans
	replicas int   // of router and exporter; 0: one
	kills    bool  // records on their way may come twice
	onePlace bool  // the fault is one of the tried back end, so the other one must not notice
	dead     bool  // records may end as dead letters
	store    func(ctx context.Context) (path string, done func(), err error)
	fault    func(ctx context.Context, l *lab, s settings) error
}

// outcome is what came of a row.
type outcome struct {
	row
	acknowledged  int
	delivered     int // of the records acknowledged, the fewer of the two back ends
	dead          int // records in dead letters
	lost          int
	repeated      int // the more of the two back ends
	before, after time.Duration
	skipped       string // why it was not run
}

// maxRepeated is the part of the records acknowledged that may come again, and only across a kill.
const maxRepeated = 0.001

// check returns what is not as it must be, if so many records may come again where something is killed.
func (o outcome) check(repeated int) error {
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, fmt.Errorf(o.name+": "+format, args...)) }
	switch {
	case o.skipped != "":
		return nil
	case o.acknowledged == 0:
		fault("nothing was acknowledged")
	case o.lost > 0:
		fault("%d of %d acknowledged records are lost", o.lost, o.acknowledged)
	}
	if o.dead > 0 && !o.row.dead {
		fault("%d records are in dead letters", o.dead)
	}
	if o.repeated > 0 && (!o.kills || o.repeated > repeated) {
		fault("%d of %d records came again", o.repeated, o.acknowledged)
	}
	return errors.Join(errs...)
}

const (
	warm     = 3 * time.Second // of load before a fault
	patience = time.Minute     // without any progress, until the rest counts as lost
)

// run makes the fault under load and says what came of it.
func (r row) run(ctx context.Context, s settings) (outcome, error) {
	o := outcome{row: r}
	store := ""
	if r.store != nil {
		path, done, err := r.store(ctx)
		if err != nil {
			o.skipped = err.Error()
			return o, nil
		}
		defer done()
		store = path
	}
	l, err := newLab(ctx, s.bin, options{store: store, replicas: max(1, r.replicas), resources: resources})
	if err != nil {
		return o, err
	}
	defer l.close()
	if r.made == nil {
		r.made = spans
	}
	load, err := publish(ctx, l.url(), s.rate, r.made)
	if err != nil {
		return o, err
	}
	ended := false
	end := func() {
		if !ended {
			ended = true
			load.end()
		}
	}
	defer end()
	begin := time.Now()
	if err := pause(ctx, warm); err != nil {
		return o, err
	}
	from := time.Now()
	if err := r.fault(ctx, l, s); err != nil {
		return o, fmt.Errorf("%s: %w\n%s", r.name, err, l.logs())
	}
	until := time.Now()
	end()
	if err := r.settle(ctx, l, load, &o); err != nil {
		return o, err
	}
	if o.lost > 0 {
		fmt.Print(l.logs())
	}
	o.before, o.after = l.other.got.p99(begin.Add(warm/3), from), l.other.got.p99(from, until)
	return o, nil
}

// settle waits until every acknowledged record has come, or nothing comes any more, and counts.
func (r row) settle(ctx context.Context, l *lab, load *load, o *outcome) error {
	o.acknowledged = load.acked.acknowledged()
	progress, since := -1, time.Now()
	for {
		dead, err := l.dead(ctx, "exporter")
		if err != nil {
			return err
		}
		tried, repeatedTried := l.tried.got.counts()
		other, repeatedOther := l.other.got.counts()
		o.dead, _ = dead.counts()
		o.lost = load.acked.lost(&l.tried.got, dead) + load.acked.lost(&l.other.got)
		o.delivered, o.repeated = min(tried, other), max(repeatedTried, repeatedOther)
		switch now := tried + other + o.dead; {
		case o.lost == 0:
			// What comes twice comes after the redelivery of what was on its way.
			return r.quiet(ctx, l, o)
		case now != progress:
			progress, since = now, time.Now()
		case time.Since(since) > patience:
			return nil
		}
		if err := pause(ctx, time.Second/4); err != nil {
			return err
		}
	}
}

// quiet waits until nothing is on its way any more, and counts what came again.
func (r row) quiet(ctx context.Context, l *lab, o *outcome) error {
	for {
		waiting, err := l.waiting(ctx)
		if err != nil {
			return err
		}
		if waiting == 0 {
			_, tried := l.tried.got.counts()
			_, other := l.other.got.counts()
			o.repeated = max(tried, other)
			return nil
		}
		if err := pause(ctx, time.Second/4); err != nil {
			return err
		}
	}
}

// kill sends a signal to the programs at random times, and starts them anew at once.
func kill(name string, signal syscall.Signal) func(context.Context, *lab, settings) error {
	return func(ctx context.Context, l *lab, s settings) error {
		for range s.rounds {
			if err := pause(ctx, s.gap/4+rand.N(s.gap*3/2)); err != nil { //nolint:gosec // No secret.
				return err
			}
			if err := l.end(name, signal); err != nil {
				return err
			}
			if err := l.launch(ctx, name); err != nil {
				return err
			}
		}
		return pause(ctx, time.Second)
	}
}

// trouble has the tried back end behave in a way for a while.
func trouble(m mood) func(context.Context, *lab, settings) error {
	return func(ctx context.Context, l *lab, s settings) error {
		l.tried.feel(m)
		err := pause(ctx, s.spell)
		l.tried.feel(takes)
		return errors.Join(err, pause(ctx, time.Second))
	}
}

// away closes the tried back end for a while.
func away(ctx context.Context, l *lab, s settings) error {
	l.tried.close()
	if err := pause(ctx, s.gone); err != nil {
		return err
	}
	return errors.Join(l.tried.open(ctx), pause(ctx, time.Second))
}

// replicas goes from two routers and exporters to one, and then to four.
func replicas(ctx context.Context, l *lab, s settings) error {
	for _, name := range []string{router, exporter} {
		if err := l.end(name, syscall.SIGTERM); err != nil {
			return err
		}
	}
	if err := pause(ctx, s.spell/2); err != nil {
		return err
	}
	for range 3 {
		if err := errors.Join(l.launch(ctx, router), l.launch(ctx, exporter)); err != nil {
			return err
		}
	}
	return pause(ctx, s.spell/2)
}

// rows are all of them, in the order of the table.
func rows() []row {
	var rs []row
	rs = append(rs, row{name: "nothing", fault: func(ctx context.Context, _ *lab, s settings) error { return pause(ctx, s.spell) }})
	for _, name := range []string{natsServer, enricher, router, exporter} {
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
			r := row{name: map[syscall.Signal]string{syscall.SIGKILL: "kill -9 ", syscall.SIGTERM: "SIGTERM "}[signal] + name, fault: kill(name, signal)}
			r.kills = signal == syscall.SIGKILL || name == natsServer
			if name == enricher {
				r.made = exchanges
			}
			rs = append(rs, r)
		}
	}
	rs = append(rs,
		row{name: "back end is gone", onePlace: true, fault: away},
		row{name: "back end is slow", onePlace: true, fault: trouble(slow)},
		row{name: "back end answers 429, Retry-After", onePlace: true, fault: trouble(throttles)},
		row{name: "back end answers 500", onePlace: true, fault: trouble(fails)},
		row{name: "back end answers 400", onePlace: true, dead: true, fault: trouble(refuses)},
		row{name: "back end resets connections", onePlace: true, fault: trouble(resets)},
		row{name: "two, one, four routers and exporters", replicas: 2, fault: replicas},
	)
	return rs
}
