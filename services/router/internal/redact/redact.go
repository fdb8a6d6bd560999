// SPDX-License-Identifier: Apache-2.0

// Package redact removes secrets from telemetry: payment card numbers, e-mail addresses, credentials and what patterns of the user
// match in every text that a program may have written into records, and whole attributes by their keys. It looks at the encoded
// payload first, so that one without secrets need not be decoded.
package redact

import (
	"fmt"
	"slices"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/services/router/internal/glob"
)

// Kinds of what is redacted, besides the names of patterns.
const (
	kindCard   = "credit_card"
	kindEmail  = "email"
	kindBearer = "bearer_token"
	kindKey    = "key"
)

// Redactor is compiled. It is immutable and safe for concurrent use.
type Redactor struct {
	finders []finder
	keys    keys
	remove  bool // attributes whose keys say so, instead of masking them
}

// finder masks the secrets of one kind.
type finder struct {
	kind string
	// may tells cheaply whether a text, or any part of it, can have one.
	may func(text string) bool
	// mask returns text without them, and how many there were. It allocates only if there was one.
	mask func(text string) (string, int)
}

// Counts are how many things were redacted, by kind.
type Counts map[string]int

// Report takes a fault: the path of the value below the step, where in its text, and why.
type Report func(path string, offset int, format string, args ...any)

// New compiles a step. It reports every fault there is; the redactor is of use only if there was none.
func New(spec *configv1.Redact, report Report) *Redactor {
	r := &Redactor{remove: spec.GetKeyAction() == configv1.Redact_KEY_ACTION_REMOVE}
	for i, p := range spec.GetPatterns() {
		r.pattern(p, spec.GetPatterns()[:i], fmt.Sprintf(".patterns[%d]", i), report)
	}
	if spec.GetBearerTokens() {
		r.finders = append(r.finders, finder{kindBearer, mayHaveTokens, tokens})
		r.keys.bear = []string{"authorization", "*.authorization", "proxy-authorization", "*.proxy-authorization"}
	}
	if spec.GetEmails() {
		r.finders = append(r.finders, finder{kindEmail, mayHaveEmails, emails})
	}
	if spec.GetCreditCards() {
		r.finders = append(r.finders, finder{kindCard, mayHaveCards, cards})
	}
	r.keys.hide = globs(spec.GetKeys(), ".keys", report)
	r.keys.compile()
	r.keys.allow = globs(spec.GetAllow(), ".allow", report)
	if len(r.finders)+len(r.keys.hide)+len(spec.GetPatterns()) == 0 {
		report("", 0, "nothing to redact: set one of creditCards, emails, bearerTokens, patterns, keys")
	}
	return r
}

// pattern adds a pattern of the user, which comes before our own: it is meant for something that is there as it came.
func (r *Redactor) pattern(p *configv1.Redact_Pattern, before []*configv1.Redact_Pattern, path string, report Report) {
	name := p.GetName()
	switch {
	case name == "":
		report(path, 0, "want a name, which is the kind in metrics")
	case slices.Contains([]string{kindCard, kindEmail, kindBearer, kindKey}, name):
		report(path+".name", 0, "%q is a kind of its own", name)
	case slices.ContainsFunc(before, func(b *configv1.Redact_Pattern) bool { return b.GetName() == name }):
		report(path+".name", 0, "%q is named twice", name)
	}
	compiled, err := newPattern(p.GetRegex(), p.GetWith())
	if err != nil {
		report(path+".regex", offset(p.GetRegex(), err), "%v", err)
		return
	}
	r.finders = append(r.finders, finder{name, compiled.may, compiled.mask})
}

func globs(texts []string, path string, report Report) []string {
	var folded []string
	for i, text := range texts {
		err := glob.Check(text)
		if text == "" {
			err = fmt.Errorf("want the key of an attribute, with * for any characters")
		}
		if err != nil {
			report(fmt.Sprintf("%s[%d]", path, i), 0, "%v", err)
		}
		folded = append(folded, fold(text))
	}
	return folded
}
