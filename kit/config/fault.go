// SPDX-License-Identifier: Apache-2.0

package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxFaults bounds what one source may report: beyond it the file is not of our kind at all.
const maxFaults = 100

// Fault is one thing that is wrong with a declaration. Line and Col begin at 1 and count characters; a zero Line means that
// the fault is of the whole file, an empty File that it is of no file.
type Fault struct {
	File      string
	Line, Col int
	Path      string // such as spec.steps[0].sample.ratio
	Reason    string
}

// String is "file:line:col: path: reason", without the parts that are not known.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Col)
	}
	for _, part := range []string{f.Path, f.Reason} {
		if part == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(part)
	}
	return b.String()
}

// Faults is all that is wrong, in the order of files and positions. As an error it has a line per fault.
type Faults []Fault

// Error implements error.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns the faults as an error, nil if there are none.
func (fs Faults) Err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs
}

// tidy puts the faults of one source in order, each once (an alias may show the same place twice), within maxFaults.
func (fs Faults) tidy() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	fs = slices.Compact(fs)
	if len(fs) > maxFaults {
		rest := Fault{File: fs[0].File, Reason: fmt.Sprintf("%d more faults", len(fs)-maxFaults)}
		fs = append(fs[:maxFaults:maxFaults], rest)
	}
	return fs
}

// Choices ends the reason of a fault about a name that is not known: "(did you mean "tempo"? known: loki, tempo)".
func Choices(name string, known []string) string { return choices(name, known) }

// choices ends a message about a name that is not known: what was probably meant, and what there is.
func choices(name string, known []string) string {
	known = slices.Sorted(slices.Values(known))
	if len(known) == 0 {
		return "(known: none)"
	}
	list := "known: " + strings.Join(known, ", ")
	if meant := nearest(name, known); meant != "" {
		return fmt.Sprintf("(did you mean %q? %s)", meant, list)
	}
	return "(" + list + ")"
}

// nearest returns the known name that a typing mistake could have turned into name, or "". Case, '_' and '-' do not count, so
// that keep_errors finds keepErrors.
func nearest(name string, known []string) string {
	const longest = 64
	plain := strings.NewReplacer("_", "", "-", "")
	fold := func(s string) []rune { return []rune(plain.Replace(strings.ToLower(s))) }
	if len(name) > longest {
		return ""
	}
	best, bound := "", 1+len(name)/4
	for _, k := range known {
		if d := distance(fold(name), fold(k)); d <= bound {
			best, bound = k, d-1
		}
	}
	return best
}

// distance is the number of insertions, deletions and replacements between a and b (Levenshtein).
func distance(a, b []rune) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i, x := range a {
		diagonal := row[0]
		row[0] = i + 1
		for j, y := range b {
			replace := diagonal
			if x != y {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
