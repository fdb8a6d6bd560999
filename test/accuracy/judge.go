// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// verdict is what became of a cell.
type verdict struct {
	Table, Row, Column string
	Right, Wanted      int
	None               string   `json:",omitempty"`
	Wrong              []string `json:",omitempty"` // what is not right, and how often
}

func (v *verdict) good() bool { return v.None != "" || v.Right == v.Wanted && len(v.Wrong) == 0 }

// place is where reports of one side of an exchange are to be found.
type place struct {
	owner int
	role  eventv1.Role
	path  string
}

// judge compares every cell with what was reported.
func judge(cells []*cell, reports []report) []verdict {
	owners := map[int]bool{}
	expected := map[place]int{}
	for _, c := range cells {
		owners[c.owner] = true
		for _, f := range c.facts {
			expected[place{c.owner, c.role, f.Path}]++
		}
	}
	found := map[place][]report{}
	strays := map[int][]report{} // by owner: of what was not expected
	for _, r := range reports {
		p := place{owner(owners, r.process), r.role, r.Path}
		if expected[p] > 0 {
			found[p] = append(found[p], r)
		} else if !r.encrypted { // that is no exchange: if there was one, it is missing
			strays[p.owner] = append(strays[p.owner], r)
		}
	}
	verdicts := make([]verdict, len(cells))
	for i, c := range cells {
		verdicts[i] = c.judge(found, strays[c.owner])
	}
	return verdicts
}

// owner is the process, or its parent, whichever has cells.
func owner(owners map[int]bool, p *eventv1.Process) int {
	if pid := int(p.GetPid()); owners[pid] {
		return pid
	}
	return int(p.GetParentPid())
}

func (c *cell) judge(found map[place][]report, strays []report) verdict {
	v := verdict{Table: c.table, Row: c.row, Column: c.column, None: c.none, Wanted: len(c.facts) + c.silent}
	if c.none != "" {
		return v
	}
	wrong := map[string]int{}
	if c.failure != "" {
		wrong[c.failure]++
	}
	byPath := map[string][]fact{}
	for _, f := range c.facts {
		byPath[f.Path] = append(byPath[f.Path], f)
	}
	for path, facts := range byPath {
		v.Right += compare(c, facts, slices.DeleteFunc(slices.Clone(found[place{c.owner, c.role, path}]), func(r report) bool {
			return r.encrypted && !c.during(r) // of another connection whose client had the same port
		}), wrong)
	}
	extra := 0
	for _, r := range strays {
		if r.role == c.role && c.during(r) {
			extra++
			wrong[fmt.Sprintf("%s %s %d never happened", r.Method, r.Path, r.Status)]++
		}
	}
	v.Right += max(c.silent-extra, 0)
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		v.Wrong = append(v.Wrong, fmt.Sprintf("%d × %s", wrong[what], what))
	}
	return v
}

func (c *cell) during(r report) bool { return !r.start.Before(c.from) && r.start.Before(c.to) }

// compare pairs facts with reports of the same path, counts those that are right, and says what is wrong with the others. It takes
// the reports as its own.
func compare(c *cell, facts []fact, reports []report, wrong map[string]int) (right int) {
	var left []fact
	for _, f := range facts {
		if c.resized && len(reports) > 0 {
			f.Request, f.Response = reports[0].Request, reports[0].Response
		}
		i := slices.IndexFunc(reports, func(r report) bool { return r.fact == f })
		if i < 0 {
			left = append(left, f)
			continue
		}
		right++
		reports = slices.Delete(reports, i, i+1)
	}
	for i, f := range left {
		if i < len(reports) {
			wrong[difference(f, reports[i].fact)]++
		} else {
			wrong["missing"]++
		}
	}
	for range len(reports) - len(left) {
		wrong["twice"]++
	}
	return right
}

// difference says in what a report departs from the fact. Numbers of bytes are given as their distance.
func difference(want, got fact) string {
	var d []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			d = append(d, fmt.Sprintf(format, args...))
		}
	}
	note(want.Method != got.Method, "method %q, not %q", got.Method, want.Method)
	note(want.Status != got.Status, "status %d, not %d", got.Status, want.Status)
	note(want.Request != got.Request, "request %+d bytes", int64(got.Request-want.Request))      //nolint:gosec // A distance.
	note(want.Response != got.Response, "response %+d bytes", int64(got.Response-want.Response)) //nolint:gosec // The same.
	note(want.Outcome != got.Outcome, "%s, not %s", got.Outcome, want.Outcome)
	note(want.Abort != got.Abort, "%s, not %s", got.Abort, want.Abort)
	note(want.Library != got.Library, "%s, not %s", got.Library, want.Library)
	note(want.FastCGI != got.FastCGI, "FastCGI %t", got.FastCGI)
	return strings.Join(d, ", ")
}
