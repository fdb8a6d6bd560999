// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"errors"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
)

// Fault is one thing that is wrong with the settings of a component.
type Fault struct {
	Path   string // below the component's name, such as .tls.ca_file or .headers["a b"]; empty for the settings as a whole
	Reason string // in the component's words
}

// decodingFaults takes the decoder's error apart, a tree of places with reasons. Unknown keys are left out: unknownKeys tells
// them.
func decodingFaults(err error, within string) []Fault {
	switch e := err.(type) { //nolint:errorlint // it is the tree that is walked, node by node
	case *mapstructure.DecodeError:
		return decodingFaults(e.Unwrap(), within+path(e.Name()))
	case interface{ Unwrap() []error }:
		var faults []Fault
		for _, branch := range e.Unwrap() {
			faults = append(faults, decodingFaults(branch, within)...)
		}
		return faults
	case interface{ Unwrap() error }:
		var several interface{ Unwrap() []error }
		if _, ok := errors.AsType[*mapstructure.DecodeError](err); ok || errors.As(err, &several) {
			return decodingFaults(e.Unwrap(), within)
		}
	}
	if strings.Contains(err.Error(), "has invalid keys: ") {
		return nil
	}
	return []Fault{{within, err.Error()}}
}

// A type's name stands for the root of what it decodes itself.
var typeName = regexp.MustCompile(`^[a-z][a-z0-9]*\.[A-Z]\w*(\[.*\])?`)

// path turns the decoder's name of a place, such as tls.insecure or headers[a], into a path.
func path(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(typeName.ReplaceAllString(name, ""), func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		b.WriteString(step(part))
	}
	return b.String()
}

// step is the part of a path for one name or index.
func step(name string) string {
	if _, err := strconv.Atoi(name); err == nil {
		return "[" + name + "]"
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && r != '/' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "[" + strconv.Quote(name) + "]"
	}
	return "." + name
}

// The validator's errors have a line each: tls::ca_file: reason.
var validationLine = regexp.MustCompile(`^([\w/-]+(?:::[\w/-]+)*): (.*)$`)

// validationFaults takes the validator's error about a configuration of type t apart.
func validationFaults(err error, t reflect.Type) []Fault {
	var faults []Fault
	for line := range strings.SplitSeq(err.Error(), "\n") {
		at, reason := "", strings.TrimSpace(line)
		if m := validationLine.FindStringSubmatch(reason); m != nil {
			at, reason = settingsPath(strings.Split(m[1], "::"), t), m[2]
		}
		// A struct that embeds another one says the same as that.
		if n := len(faults); reason != "" && (n == 0 || faults[n-1].Reason != reason) {
			faults = append(faults, Fault{at, reason})
		}
	}
	return faults
}

// settingsPath is the path of a place in a configuration of type t. The validator names embedded structs by their types, which no
// setting does.
func settingsPath(names []string, t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, ok := fieldsOf(t).find(names[0]); !ok {
		names = names[1:]
	}
	var b strings.Builder
	for _, name := range names {
		b.WriteString(step(name))
	}
	return b.String()
}
