// SPDX-License-Identifier: Apache-2.0

// Package shortcut does what the simplest expressions of the OpenTelemetry Transformation Language say to encoded records, without
// decoding them, which is what they cost most:
//
//	set(span.attributes["team"], "checkout") where span.attributes["http.route"] == "/pay" and resource.attributes["env"] != nil
//	delete_key(log.attributes, "user")
//	span.attributes["http.route"] == "/healthz"
//
// The language itself has compiled, checked and tried them before. What is not of these shapes is left to it, and so is every payload
// that is not as it should be. Tests hold the two against each other.
package shortcut

import (
	"regexp"
	"strconv"
	"strings"
)

// expression is a condition, or a statement with or without one.
type expression struct {
	context string // span or log: whose record it is about
	verb    string // set, delete_key, or "" for a condition alone
	key     string // that the statement is about
	value   literal
	where   condition // of no terms: always
}

// condition holds if all of its terms do, or with any if one of them does.
type condition struct {
	any   bool
	terms []term
}

// term compares an attribute.
type term struct {
	resource bool // of the resource; else of the record
	key      string
	not      bool // != in place of ==
	value    literal
}

// literal is a constant.
type literal struct {
	kind kind
	text string
	n    int64 // 0 and 1 for a boolean
}

type kind uint8

const (
	isNil kind = iota
	isText
	isBool
	isInt
)

// token is what texts are made of, but for blanks. Anything else, such as a sign, an escape or a call, is not of our shapes.
var token = regexp.MustCompile(`^(?:[a-z_]+|[0-9]+|"[^"\\]*"|==|!=|[()\[\].,])`)

// parser reads tokens for as long as they are those it expects.
type parser struct {
	rest   string
	next   string // the token at hand; "" at the end and at what is no token
	failed bool
}

// parse reads an expression; ok is false if it is not of our shapes.
func parse(text string) (e expression, ok bool) {
	p := &parser{rest: text}
	p.advance()
	if p.next == "set" || p.next == "delete_key" {
		e.verb = p.next
		p.statement(&e)
	} else {
		e.where = p.condition(&e)
	}
	return e, !p.failed && p.next == "" && p.rest == "" && e.context != ""
}

func (p *parser) advance() {
	p.rest = strings.TrimLeft(p.rest, " \t\n\r")
	p.next = token.FindString(p.rest)
	p.rest = p.rest[len(p.next):]
}

func (p *parser) expect(tokens ...string) {
	for _, t := range tokens {
		p.failed = p.failed || p.next != t
		p.advance()
	}
}

func (p *parser) statement(e *expression) {
	p.advance()
	p.expect("(")
	p.failed = p.failed || p.owner(e) // resources are not changed
	p.expect(".", "attributes")
	if e.verb == "set" {
		e.key = p.index()
		p.expect(",")
		e.value = p.literal()
		p.failed = p.failed || e.value.kind == isNil // which does nothing
	} else {
		p.expect(",")
		e.key = p.text()
	}
	p.expect(")")
	if p.next == "where" {
		p.advance()
		e.where = p.condition(e)
	}
}

// condition reads terms with the same word between them.
func (p *parser) condition(e *expression) (c condition) {
	word := ""
	for {
		c.terms = append(c.terms, p.term(e))
		if p.next != "and" && p.next != "or" || word != "" && p.next != word {
			break
		}
		word = p.next
		p.advance()
	}
	c.any = word == "or"
	return c
}

func (p *parser) term(e *expression) (t term) {
	t.resource = p.owner(e)
	p.expect(".", "attributes")
	t.key = p.index()
	t.not = p.next == "!="
	p.failed = p.failed || !t.not && p.next != "=="
	p.advance()
	t.value = p.literal()
	return t
}

// owner reads whose attribute a path is about, and tells whether it is the resource.
func (p *parser) owner(e *expression) (resource bool) {
	owner := p.next
	p.advance()
	switch owner {
	case "resource":
		return true
	case "span", "log":
		p.failed = p.failed || e.context != "" && e.context != owner
		e.context = owner
	default:
		p.failed = true
	}
	return false
}

func (p *parser) index() (key string) {
	p.expect("[")
	key = p.text()
	p.expect("]")
	return key
}

func (p *parser) text() string {
	l := p.literal()
	p.failed = p.failed || l.kind != isText
	return l.text
}

func (p *parser) literal() (l literal) {
	t := p.next
	p.advance()
	switch {
	case t == "nil":
	case t == "true", t == "false":
		l.kind = isBool
		if t == "true" {
			l.n = 1
		}
	case strings.HasPrefix(t, `"`):
		l.kind, l.text = isText, strings.Trim(t, `"`)
	default:
		n, err := strconv.ParseInt(t, 10, 64)
		p.failed = p.failed || err != nil
		l.kind, l.n = isInt, n
	}
	return l
}
