// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
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
	unsure   bool  // what was not acknowledged may be stored
	redis    bool  // routers share a store
	jumps    bool  // the clocks of whoever publishes are set back and forth
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
	repeated      int   // the more of the two back ends
	counted       int   // deltas of counters that were acknowledged, added up
	shown         int   // what the counters came to
	fell          error // where counters went down
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
	if o.shown < o.counted || o.shown > o.counted && !o.unsure {
		fault("counters come to %d, not %d", o.shown, o.counted)
	}
	if o.fell != nil {
		fault("a counter went down: %w", o.fell)
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

// countRate is how many deltas of counters are published a second.
const countRate = 40

// trial is a row under way.
type trial struct {
	row
	lab         *lab
	load, count *load
	counters    counters
	done        sync.WaitGroup // of the watching
	stop        context.CancelFunc
}

// run makes the fault under load and says what came of it.
func (r row) run(ctx context.Context, s settings) (outcome, error) {
	store := ""
	if r.store != nil {
		path, done, err := r.store(ctx)
		if err != nil {
			return outcome{row: r, skipped: err.Error()}, nil
		}
		defer done()
		store = path
	}
	l, err := newLab(ctx, s.bin, options{store: store, replicas: max(1, r.replicas), redis: r.redis, resources: resources})
	if err != nil {
		return outcome{row: r}, err
	}
	defer l.close()
	t, err := r.begin(ctx, l, s)
	if err != nil {
		return outcome{row: r}, err
	}
	defer t.end()
	o, err := t.run(ctx, s)
	if err != nil || o.check(math.MaxInt) != nil {
		return o, errors.Join(err, l.keepLogs(r.name))
	}
	return o, nil
}

// begin begins the loads.
func (r row) begin(ctx context.Context, l *lab, s settings) (*trial, error) {
	t := &trial{row: r, lab: l}
	made, counted := r.made, maker(deltas)
	if made == nil {
		made = spans
	}
	if r.jumps {
		made, counted = jumping(made), jumping(counted)
	}
	ctx, t.stop = context.WithCancel(ctx)
	var err error
	if t.load, err = publish(ctx, l.url(), s.rate, made); err == nil {
		t.count, err = publish(ctx, l.url(), countRate, counted)
	}
	t.done.Go(func() { t.counters.watch(ctx, l.pages) })
	if err != nil {
		t.end()
	}
	return t, err
}

// end ends what begin began.
func (t *trial) end() {
	for _, l := range []*load{t.load, t.count} {
		if l != nil {
			l.end()
		}
	}
	t.stop()
	t.done.Wait()
}

func (t *trial) run(ctx context.Context, s settings) (outcome, error) {
	o := outcome{row: t.row}
	begin := time.Now()
	if err := pause(ctx, warm); err != nil {
		return o, err
	}
	from := time.Now()
	if err := t.fault(ctx, t.lab, s); err != nil {
		return o, fmt.Errorf("%s: %w", t.name, err)
	}
	until := time.Now()
	t.load.end()
	t.count.end()
	err := t.settle(ctx, &o)
	other := &t.lab.other.got
	o.before, o.after = other.p99(begin.Add(warm/3), from), other.p99(from, until)
	return o, err
}

// settle waits until everything that was acknowledged has come and nothing is on its way, or nothing happens any more, and counts.
func (t *trial) settle(ctx context.Context, o *outcome) error {
	o.acknowledged, o.counted = t.load.acked.acknowledged(), t.count.acked.acknowledged()
	progress, since := -1, time.Now()
	for {
		waiting, err := t.lab.waiting(ctx)
		if err != nil {
			return err
		}
		if err := t.look(ctx, o); err != nil {
			return err
		}
		switch now := o.delivered + o.repeated + o.dead + o.shown - waiting; {
		case o.lost == 0 && waiting == 0 && o.shown >= o.counted:
			return nil
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

// look counts what has come so far.
func (t *trial) look(ctx context.Context, o *outcome) error {
	dead, err := t.lab.dead(ctx, "exporter")
	if err != nil {
		return err
	}
	tried, repeatedTried := t.lab.tried.got.counts()
	other, repeatedOther := t.lab.other.got.counts()
	o.dead, _ = dead.counts()
	o.lost = t.load.acked.lost(&t.lab.tried.got, dead) + t.load.acked.lost(&t.lab.other.got)
	o.delivered, o.repeated = min(tried, other), max(repeatedTried, repeatedOther)
	o.shown, o.fell = t.counters.total(), t.counters.fell()
	return nil
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

const diskSize = "256m"

// smallDisk mounts a small disk in memory for the streams.
func smallDisk(ctx context.Context) (path string, done func(), err error) {
	dir, err := os.MkdirTemp("", "busbar-faults-disk-")
	if err != nil {
		return "", nil, err
	}
	if out, err := exec.CommandContext(ctx, "mount", "-t", "tmpfs", "-o", "size="+diskSize, "busbar-faults", dir).CombinedOutput(); err != nil {
		return "", nil, fmt.Errorf("mount: %w: %s", err, bytes.TrimSpace(out))
	}
	return filepath.Join(dir, "store"), func() {
		_ = exec.Command("umount", dir).Run() //nolint:noctx // Also after an interrupt.
		_ = os.Remove(dir)
	}, nil
}

// fillDisk fills the disk of the streams for a while. A nats-server that has met a full disk must be started anew.
func fillDisk(ctx context.Context, l *lab, s settings) error {
	ballast := filepath.Join(filepath.Dir(l.store), "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, zeros{})
	if err = errors.Join(f.Close(), err); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("fill the disk: %w", err)
	}
	if err := pause(ctx, s.spell); err != nil {
		return err
	}
	if err := errors.Join(os.Remove(ballast), l.end(natsServer, syscall.SIGTERM)); err != nil {
		return err
	}
	return errors.Join(l.launch(ctx, natsServer), pause(ctx, s.spell))
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// redisAway kills the store of the routers for a while.
func redisAway(ctx context.Context, l *lab, s settings) error {
	if err := l.end(redisServer, syscall.SIGKILL); err != nil {
		return err
	}
	if err := pause(ctx, s.spell); err != nil {
		return err
	}
	return errors.Join(l.launch(ctx, redisServer), pause(ctx, s.spell/2))
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
	wait := func(ctx context.Context, _ *lab, s settings) error { return pause(ctx, s.spell) }
	rs = append(rs, row{name: "nothing", fault: wait})
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
		row{name: "disk of the streams is full", kills: true, unsure: true, store: smallDisk, fault: fillDisk},
		row{name: "store (Redis) is gone", redis: true, fault: redisAway},
		row{name: "clocks of senders jump", jumps: true, fault: wait},
		row{name: "two, one, four routers and exporters", replicas: 2, fault: replicas},
	)
	return rs
}
