// SPDX-License-Identifier: Apache-2.0

package route

import (
	"errors"
	"fmt"
	"path"

	configv1 "github.com/busbar/busbar/contract/config/v1"
)

// Problem is what is wrong with one field of a RouteRules message.
type Problem struct {
	Path string // "patterns[2]"
	Err  error
}

// Rules is what RouteRules resources say about one service.
type Rules struct {
	patterns, ignore []Pattern
	unmatched        configv1.RouteRules_Unmatched
}

// Book holds every RouteRules resource. It is immutable.
type Book struct{ entries []entry }

type entry struct {
	Rules
	services []string // globs as in path.Match; none means every service
}

// NewBook compiles resources in the order in which they were declared, and says all that is wrong with each of them: the
// problems have the indexes of rules. A book with problems is without the parts that have them.
func NewBook(rules []*configv1.RouteRules) (*Book, [][]Problem) {
	book, problems := &Book{}, make([][]Problem, len(rules))
	for i, r := range rules {
		var e entry
		e, problems[i] = compileEntry(r)
		book.entries = append(book.entries, e)
	}
	return book, problems
}

func compileEntry(r *configv1.RouteRules) (e entry, problems []Problem) {
	compile := func(field string, texts []string) (out []Pattern) {
		for i, text := range texts {
			p, err := Compile(text)
			if err != nil {
				problems = append(problems, Problem{fmt.Sprintf("%s[%d]", field, i), err})
				continue
			}
			out = append(out, p)
		}
		return out
	}
	e.patterns, e.ignore = compile("patterns", r.GetPatterns()), compile("ignore", r.GetIgnore())
	e.unmatched = r.GetUnmatched()
	for i, glob := range r.GetServices() {
		if err := checkGlob(glob); err != nil {
			problems = append(problems, Problem{fmt.Sprintf("services[%d]", i), err})
			continue
		}
		e.services = append(e.services, glob)
	}
	return e, problems
}

func checkGlob(glob string) error {
	if glob == "" {
		return errors.New("want a service name or a glob, got nothing")
	}
	if _, err := path.Match(glob, ""); err != nil {
		return errors.New("malformed glob: a bracket without its end, or nothing after a backslash")
	}
	return nil
}

// For puts together what the book says about a service: patterns and ignored paths of every resource that covers it, in
// order, and the way with unmatched paths of the first such resource that names one.
func (b *Book) For(service string) *Rules {
	rules := &Rules{}
	for _, e := range b.entries {
		if !e.covers(service) {
			continue
		}
		rules.patterns = append(rules.patterns, e.patterns...)
		rules.ignore = append(rules.ignore, e.ignore...)
		if rules.unmatched == configv1.RouteRules_UNMATCHED_UNSPECIFIED {
			rules.unmatched = e.unmatched
		}
	}
	return rules
}

func (e entry) covers(service string) bool {
	for _, glob := range e.services {
		if ok, err := path.Match(glob, service); ok && err == nil {
			return true
		}
	}
	return len(e.services) == 0
}
