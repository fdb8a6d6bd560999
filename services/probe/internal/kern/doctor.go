// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
)

// TierReport says whether a tier works here.
type TierReport struct {
	Name   string
	Works  bool
	Reason string // why it does not
	Hooks  []HookReport
}

// HookReport says whether a hook works here.
type HookReport struct {
	Name   string
	Works  bool
	Reason string // why it does not
	Use    string // what is missing without it
}

// Doctor finds out what this kernel and the privileges of this process allow, best tier first. It loads every program and
// closes it again; it attaches nothing, so nothing is observed and nothing is disturbed. The error is that of Load where no
// tier can work: a *MissingError or ErrNoBTF; the report is then complete all the same.
func Doctor() ([]TierReport, error) {
	held := types()
	defer runtime.KeepAlive(held)
	unmet := rlimit.RemoveMemlock()
	if err := requirements(); err != nil {
		unmet = err
	}
	var reports []TierReport
	beside := examineExtras(unmet)
	for _, t := range tiers() {
		r := t.examine(unmet)
		r.Hooks = append(r.Hooks, beside...)
		reports = append(reports, r)
	}
	return reports, unmet
}

// examineExtras tries what is loaded beside every tier.
func examineExtras(unmet error) []HookReport {
	var reports []HookReport
	for _, e := range extras() {
		refusals, err := map[string]error{}, unmet
		if err == nil {
			e.examine(Options{}, refusals)
			err = errors.Join(slices.Collect(maps.Values(refusals))...)
		}
		hr := HookReport{Name: e.name, Works: err == nil, Use: e.gives}
		if err != nil {
			hr.Reason = err.Error()
		}
		reports = append(reports, hr)
	}
	return reports
}

// examine tries the hooks of a tier one by one.
func (t tier) examine(unmet error) TierReport {
	t, without := t.here(preemptible())
	r := TierReport{Name: t.name, Works: unmet == nil}
	refusals := map[string]error{}
	if unmet != nil {
		r.Reason = unmet.Error()
	} else if t.impossible() == nil {
		for _, o := range t.objects {
			o.examine(Options{hooks: t.hooks, without: without}, refusals)
		}
	}
	for _, h := range t.hooks {
		reason := unmet
		if reason == nil {
			reason = errors.Join(h.missing(), refusals[h.program])
		}
		hr := HookReport{Name: h.name, Works: reason == nil, Use: h.gives}
		if reason != nil {
			hr.Reason = reason.Error()
		}
		if reason != nil && h.vital && r.Works {
			r.Works, r.Reason = false, fmt.Sprintf("%s: %s", h.name, hr.Reason)
		}
		r.Hooks = append(r.Hooks, hr)
	}
	return r
}

// examine notes for each program of an object why the kernel refuses it. Programs are loaded one at a time, so that one does
// not answer for another.
func (o object) examine(opts Options, refusals map[string]error) {
	opts.RingBytes = minRingBytes()
	opts, _ = opts.withDefaults()
	whole, err := o.spec(opts)
	if err != nil {
		whole = &ebpf.CollectionSpec{}
	}
	for name := range whole.Programs {
		c, err := ebpf.NewCollectionWithOptions(alone(whole, name), ebpf.CollectionOptions{Cache: types()})
		if err != nil {
			refusals[name] = tooOld(err)
			continue
		}
		c.Close()
	}
}
