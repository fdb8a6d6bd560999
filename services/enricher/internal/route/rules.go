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

// Rules is what RouteRules resources say about one side of one service.
type Rules struct {
	patterns, noSpan, noMetric matcher
	unmatched                  configv1.RouteRules_Unmatched
}

// Book holds every RouteRules resource. It is immutable.
type Book struct{ entries []entry }

type entry struct {
	patterns, noSpan, noMetric []Pattern
	unmatched                  configv1.RouteRules_Unmatched
	services, namespaces       []string // globs as in path.Match; none means every one
	side                       Side     // "" for both
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
	globs := func(field string, texts []string) (out []string) {
		for i, glob := range texts {
			if err := checkGlob(glob); err != nil {
				problems = append(problems, Problem{fmt.Sprintf("%s[%d]", field, i), err})
				continue
			}
			out = append(out, glob)
		}
		return out
	}
	e.patterns = compile("patterns", r.GetPatterns())
	both := compile("ignore", r.GetIgnore())
	e.noSpan = append(compile("ignoreSpans", r.GetIgnoreSpans()), both...)
	e.noMetric = append(compile("ignoreMetrics", r.GetIgnoreMetrics()), both...)
	e.services, e.namespaces = globs("services", r.GetServices()), globs("namespaces", r.GetNamespaces())
	e.unmatched = r.GetUnmatched()
	switch r.GetRole() {
	case configv1.RouteRules_ROLE_SERVER:
		e.side = Server
	case configv1.RouteRules_ROLE_CLIENT:
		e.side = Client
	case configv1.RouteRules_ROLE_UNSPECIFIED:
	}
	return e, problems
}

func checkGlob(glob string) error {
	if glob == "" {
		return errors.New("want a name or a glob, got nothing")
	}
	if _, err := path.Match(glob, ""); err != nil {
		return errors.New("malformed glob: a bracket without its end, or nothing after a backslash")
	}
	return nil
}

// For puts together what the book says about one side of a service: patterns and ignored paths of every resource that covers it, in
// order, and the way with unmatched paths of the first such resource that names one.
func (b *Book) For(namespace, service string, side Side) *Rules {
	rules := &Rules{}
	var patterns, noSpan, noMetric []Pattern
	for _, e := range b.entries {
		if e.side != "" && e.side != side || !covers(e.services, service) || !covers(e.namespaces, namespace) {
			continue
		}
		patterns, noSpan, noMetric = append(patterns, e.patterns...), append(noSpan, e.noSpan...), append(noMetric, e.noMetric...)
		if rules.unmatched == configv1.RouteRules_UNMATCHED_UNSPECIFIED {
			rules.unmatched = e.unmatched
		}
	}
	rules.patterns, rules.noSpan, rules.noMetric = newMatcher(patterns), newMatcher(noSpan), newMatcher(noMetric)
	return rules
}

func covers(globs []string, name string) bool {
	for _, glob := range globs {
		if ok, err := path.Match(glob, name); ok && err == nil {
			return true
		}
	}
	return len(globs) == 0
}
