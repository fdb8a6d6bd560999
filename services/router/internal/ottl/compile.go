// SPDX-License-Identifier: Apache-2.0

package ottl

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
)

// Fault is what is wrong with an expression: where in its text, counted in characters, and why.
type Fault struct {
	Offset int
	Reason string
}

// Condition compiles a condition.
func (c *Compiler) Condition(text string) (Block, *Fault) {
	b, err := c.collection.ParseConditions(ottl.NewConditionsGetter([]string{text}))
	if err != nil {
		return nil, explain(text, err)
	}
	if f := c.tryCondition(b.Context(), text, 0); f != nil {
		return nil, f
	}
	return b, nil
}

// Statement compiles a statement.
func (c *Compiler) Statement(text string) (Block, *Fault) {
	b, err := c.collection.ParseStatements(ottl.NewStatementsGetter([]string{text}))
	if err != nil {
		return nil, explain(text, err)
	}
	editor, where := cutWhere(text)
	if where >= 0 {
		if f := c.tryCondition(b.Context(), text[where:], len([]rune(text[:where]))); f != nil {
			return nil, f
		}
	}
	alone, err := c.collection.ParseStatementsWithContext(string(b.Context()), ottl.NewStatementsGetter([]string{editor}), false)
	if err != nil {
		return nil, explain(text, err)
	}
	if reason := tryOn(alone, text); reason != "" {
		return nil, &Fault{Reason: reason}
	}
	return b, nil
}

// literal is a text in an expression.
var literal = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// keyword begins the condition of a statement.
var keyword = regexp.MustCompile(`\swhere\s`)

// cutWhere returns a statement without its condition, and where the condition begins in it; -1 if it has none.
func cutWhere(text string) (editor string, where int) {
	blank := literal.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("_", len(s)) })
	at := keyword.FindStringIndex(blank)
	if at == nil {
		return text, -1
	}
	return text[:at[0]], at[1]
}

var (
	syntaxAt = regexp.MustCompile(`(?: at|:) (\d+):(\d+)(?:: lexer)?`)
	quoted   = regexp.MustCompile(`"([^"]+)"`)
)

// explain says what is wrong with a text as the language tells it, without what the position of the fault shows anyway.
func explain(text string, err error) *Fault {
	reason := cause(err).Error()
	if strings.HasPrefix(reason, "unable to infer context") {
		return &Fault{Reason: "no path tells what this is about: begin paths with resource, scope, span, spanevent, metric, datapoint or log"}
	}
	if m := syntaxAt.FindStringSubmatch(reason); m != nil {
		line, _ := strconv.Atoi(m[1])
		col, _ := strconv.Atoi(m[2])
		return &Fault{Offset: offset(text, line, col), Reason: strings.Replace(reason, m[0], "", 1)}
	}
	f := &Fault{Reason: reason}
	for _, m := range quoted.FindAllStringSubmatch(reason, -1) {
		if i := strings.Index(text, m[1]); i >= 0 {
			f.Offset = len([]rune(text[:i])) // the last one is the most specific
		}
	}
	return f
}

// cause leaves out the frames that repeat the expression.
func cause(err error) error {
	for {
		switch e := err.(type) { //nolint:errorlint // takes the chain apart link by link
		case interface{ Unwrap() []error }:
			err = e.Unwrap()[0]
			continue
		case interface{ Unwrap() error }:
			if strings.HasPrefix(err.Error(), "unable to ") {
				err = errors.Unwrap(err)
				continue
			}
		}
		return err
	}
}

// offset turns a line and column, from 1, into a count of characters.
func offset(text string, line, col int) (n int) {
	for l := range strings.Lines(text) {
		if line--; line == 0 {
			break
		}
		n += len([]rune(l))
	}
	return n + col - 1
}
