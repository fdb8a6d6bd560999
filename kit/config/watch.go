// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/busbar/busbar/kit/metric"
)

// look is how often a Watcher looks. A change is taken once it has been seen twice, so it is in force within a second.
const look = 500 * time.Millisecond

// Watcher follows files and folders. It compares contents, so it does not matter how they change: written in place, renamed
// over, or swapped behind symbolic links as in a Kubernetes ConfigMap. Nor do network file systems, which notify nobody.
type Watcher struct {
	Paths []string
	Kinds Kinds
	Check func(*Set) Faults // what is wrong with a set as a whole; nil finds nothing
	Apply func(*Set)        // makes a set that passed Check the one in force; called by one goroutine

	Log     *slog.Logger          // nil: slog.Default()
	Metrics prometheus.Registerer // nil: none
	Refusal *Refusal              // remembers why the last change was refused; nil: nobody asks
}

// Watch is [Watcher.Run] that logs to slog.Default() and counts nothing.
func Watch(ctx context.Context, paths []string, kinds Kinds, check func(*Set) Faults, apply func(*Set)) error {
	w := &Watcher{Paths: paths, Kinds: kinds, Check: check, Apply: apply}
	return w.Run(ctx)
}

// Run loads, checks and applies, and does so again after each change of the files or of what they refer to as ${file:PATH},
// until ctx ends; then it returns nil. If the first set has faults it returns them. Later a set with faults is refused: they
// are logged and counted, and the set in force stays. So it does when a path of Paths vanishes, whereas a file that
// vanishes from a folder takes its resources along. A referenced file that vanishes changes nothing until it is back.
func (w *Watcher) Run(ctx context.Context) error {
	f := &follower{Watcher: w, seen: map[string][sha256.Size]byte{}}
	f.reloads, f.refused = metrics(w.Metrics)
	sources, faults := read(w.Paths)
	if err := f.try(sources, faults); err != nil {
		return err
	}
	before, tick := f.tried, time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		sources, faults := read(w.Paths)
		now := f.fingerprint(sources, faults)
		if now == before && now != f.tried {
			f.report(f.try(sources, faults))
			now = f.tried
		}
		before = now
	}
}

// follower is the state of one Run.
type follower struct {
	*Watcher
	reloads *prometheus.CounterVec
	refused prometheus.Gauge // shared with the others of this process

	refuses bool // counted in refused
	inForce *Set
	tried   [sha256.Size]byte            // fingerprint of what was tried last
	files   []string                     // referred to by the set in force and by the one tried last
	seen    map[string][sha256.Size]byte // of those files, the last content that could be read
}

// try puts what the sources declare in force, unless it has faults.
func (f *follower) try(sources []Source, faults Faults) error {
	set, err := build(sources, faults, f.Kinds)
	if set != nil {
		f.files = set.Files()
		if f.inForce != nil {
			f.files = append(f.files, f.inForce.files...)
		}
	}
	// Before anyone resolves a reference: what changes from here on is a change to come.
	f.tried = f.fingerprint(sources, faults)
	if err != nil {
		return err
	}
	if f.Check != nil {
		if faults := f.Check(set); len(faults) > 0 {
			return faults
		}
	}
	f.Apply(set)
	f.inForce = set
	return nil
}

// fingerprint identifies all that a set depends on.
func (f *follower) fingerprint(sources []Source, faults Faults) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, src := range sources {
		fmt.Fprintf(h, "%q %x\n", src.Name, sha256.Sum256(src.Data))
	}
	fmt.Fprintf(h, "%q\n", faults.Error())
	for _, file := range f.files {
		if data, err := readFile(file); err == nil {
			f.seen[file] = sha256.Sum256(data)
		}
		fmt.Fprintf(h, "%q %x\n", file, f.seen[file])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// report tells how a try went.
func (f *follower) report(err error) {
	log := cmp.Or(f.Log, slog.Default())
	f.Refusal.note(err)
	if err == nil {
		f.reloads.WithLabelValues("applied").Inc()
		f.refuse(false)
		log.Info("configuration applied", slog.Int("resources", len(f.inForce.Resources)))
		return
	}
	f.reloads.WithLabelValues("refused").Inc()
	f.refuse(true)
	log.Error("configuration refused, the last good one stays", slog.Any("faults", strings.Split(err.Error(), "\n")))
}

// refuse keeps the count of those in this process who refuse the resources.
func (f *follower) refuse(now bool) {
	switch {
	case now && !f.refuses:
		f.refused.Inc()
	case !now && f.refuses:
		f.refused.Dec()
	}
	f.refuses = now
}

func metrics(reg prometheus.Registerer) (*prometheus.CounterVec, prometheus.Gauge) {
	reloads := metric.Register(reg, prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "busbar_config_reloads_total",
		Help: "Changes of the declared resources, by result: applied or refused.",
	}, []string{"result"}))
	refused := metric.Register(reg, prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "busbar_config_refused",
		Help: "Services of this process that refuse the declared resources for their faults and keep to an earlier state.",
	}))
	return reloads, refused
}
