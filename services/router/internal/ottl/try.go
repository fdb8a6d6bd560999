// SPDX-License-Identifier: Apache-2.0

package ottl

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"

	"github.com/busbar/busbar/services/router/internal/otlp"
)

// tryCondition looks for type errors in the condition text, which begins at an offset of what the user wrote.
func (c *Compiler) tryCondition(name Context, text string, from int) *Fault {
	b, err := c.collection.ParseConditionsWithContext(string(name), ottl.NewConditionsGetter([]string{text}), false)
	if err != nil {
		f := explain(text, err)
		f.Offset += from
		return f
	}
	if reason := tryOn(b, text); reason != "" {
		return &Fault{Offset: from, Reason: reason}
	}
	if f := c.neverEqual(name, text); f != nil {
		f.Offset += from
		return f
	}
	return nil
}

// tryOn runs a block on samples in which everything the text names has one type after the other. If every one of them
// ends in a type error, no data can be right for it, and the reason is returned.
func tryOn(b Block, text string) string {
	t, ok := b.(interface {
		try(context.Context, *otlp.Cursor) error
	})
	if !ok {
		return ""
	}
	var first error
	for _, at := range samples(b.Context(), text) {
		err := t.try(context.Background(), at)
		if !isTypeError(err) {
			return ""
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		return ""
	}
	return "wrong type: " + first.Error()
}

// setterTypeError is how setters of the language report a value of a type that does not fit.
var setterTypeError = regexp.MustCompile(`expects \S+ but got `)

// isTypeError tells whether err is about a type. A value that is absent (nil) has none.
func isTypeError(err error) bool {
	if err == nil {
		return false
	}
	if t, ok := errors.AsType[ottl.TypeError](err); ok {
		return !strings.HasSuffix(string(t), "but got nil")
	}
	return setterTypeError.MatchString(err.Error())
}

// comparison finds a path compared with a literal; texts have been emptied before.
var comparison = regexp.MustCompile(`([a-z_]+(?:\.[a-z_]+)+)\s*(?:==|!=|<=|>=|<|>)\s*("|[-+]?[0-9])`)

// neverEqual looks for a field compared with a literal of another type. The language evaluates such a comparison without
// an error, always to the same result, as in span.kind == "server".
func (c *Compiler) neverEqual(name Context, text string) *Fault {
	plain := literal.ReplaceAllStringFunc(text, func(s string) string { return `"` + strings.Repeat("_", len(s)-2) + `"` })
	for _, m := range comparison.FindAllStringSubmatchIndex(plain, -1) {
		path, want := plain[m[2]:m[3]], "a text"
		if plain[m[4]] != '"' {
			want = "a number"
		}
		is := c.typeOf(name, path)
		if is == "" || is == want {
			continue
		}
		reason := fmt.Sprintf("wrong type: %s is %s and is compared with %s", path, is, want)
		if want == "a text" && c.typeOf(name, path+".string") == want {
			reason += fmt.Sprintf(" (did you mean %s.string?)", path)
		}
		return &Fault{Offset: len([]rune(plain[:m[2]])), Reason: reason}
	}
	return nil
}

// typeOf returns the type of a field in words, "" if it is not known or differs between samples.
func (c *Compiler) typeOf(name Context, path string) (is string) {
	get, err := c.values[name](path)
	if err != nil {
		return ""
	}
	for _, at := range samples(name, "") {
		v, err := get(context.Background(), at)
		if err != nil {
			return ""
		}
		var now string
		switch v.(type) {
		case string:
			now = "a text"
		case int64, float64:
			now = "a number"
		case bool:
			now = "a truth value"
		default:
			return ""
		}
		if is != "" && is != now {
			return ""
		}
		is = now
	}
	return is
}

// valueGetter evaluates a path at a place.
type valueGetter func(context.Context, *otlp.Cursor) (any, error)

func (h *host[K]) value(p ottl.Parser[K], path string) (valueGetter, error) {
	e, err := p.ParseValueExpression(path)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, at *otlp.Cursor) (any, error) {
		t := h.enter(at)
		defer h.leave(t)
		return e.Eval(ctx, t)
	}, nil
}
