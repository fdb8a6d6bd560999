// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strings"
)

// redacted is what a Secret shows of itself.
const redacted = "[redacted]"

// Secret is a text that does not show itself: fmt with any verb, JSON, YAML and slog print [redacted]. The zero value
// holds an empty text.
type Secret struct {
	text *string // a pointer, so that fmt finds only an address where it cannot call our methods
}

// NewSecret makes a secret of a text.
func NewSecret(text string) Secret { return Secret{text: &text} }

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Equal tells whether two secrets hold the same text.
func (s Secret) Equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// Format implements fmt.Formatter, for all verbs.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) } // fmt ignores it too

// MarshalText implements encoding.TextMarshaler, which JSON and YAML use.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// reference is what stands between ${ and }.
type reference struct{ scheme, name string }

// dollar finds what a $ may begin: an escaped one, or a reference.
var dollar = regexp.MustCompile(`\$\$|\$\{([^}]*)(\}?)`)

var environmentName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// references returns those in a text that Expand would resolve.
func references(text string) []reference {
	var refs []reference
	for _, m := range dollar.FindAllStringSubmatch(text, -1) {
		if scheme, name, ok := strings.Cut(m[1], ":"); ok && m[2] != "" {
			refs = append(refs, reference{scheme, name})
		}
	}
	return refs
}

// Expand resolves the references in a text: ${env:NAME} is an environment variable, ${file:PATH} the content of a file
// without a newline at its end, $$ a single $. Any other $ stands for itself, and what a reference yields is not expanded
// again. The error joins what is wrong with each reference, and never shows a value.
func Expand(text string) (Secret, error) {
	var errs []error
	out := dollar.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$$" {
			return "$"
		}
		value, err := resolve(match)
		if err != nil {
			errs = append(errs, err)
		}
		return value
	})
	if len(errs) > 0 {
		return Secret{}, errors.Join(errs...)
	}
	return NewSecret(out), nil
}

func resolve(match string) (string, error) {
	if !strings.HasSuffix(match, "}") {
		return "", errors.New("reference ${ is not closed")
	}
	scheme, name, _ := strings.Cut(match[2:len(match)-1], ":")
	switch {
	case scheme == "env" && environmentName.MatchString(name):
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("resolve %s: the variable is not set", match)
		}
		return value, nil
	case scheme == "file" && name != "":
		data, err := readFile(name)
		if err != nil {
			return "", fmt.Errorf("resolve %s: %s", match, reason(err))
		}
		return strings.TrimRight(string(data), "\r\n"), nil
	}
	return "", fmt.Errorf("resolve %s: want ${env:NAME} or ${file:PATH}", match)
}
