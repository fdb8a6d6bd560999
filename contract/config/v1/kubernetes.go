// SPDX-License-Identifier: Apache-2.0

package configv1

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Key names a selector by what it says, so that whoever resolves selectors and whoever asks for them agree on the meaning of a name even
// while one has newer resources than the other. Equal selectors have the same key, in whatever resource they stand.
func (s *KubernetesSelector) Key() string {
	content := map[string]any{}
	s.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !fd.IsMap() {
			content[fd.JSONName()] = v.String()
			return true
		}
		entries := map[string]string{}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			entries[k.String()] = v.String()
			return true
		})
		content[fd.JSONName()] = entries
		return true
	})
	text, err := json.Marshal(content) // sorts keys
	if err != nil {
		panic(err) // texts always marshal
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// Check reports what is wrong with the selector, by path below it.
func (s *KubernetesSelector) Check(report func(path, reason string)) {
	empty := true
	glob := func(path, pattern string) {
		empty = false
		if i := strings.IndexAny(pattern, `[]{}\`); i >= 0 {
			report(path, fmt.Sprintf("%q is no glob: only '*' and '?' are special, and %q may not be in it", pattern, pattern[i]))
		}
	}
	s.ProtoReflect().Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if !fd.IsMap() {
			glob(fd.JSONName(), v.String())
		}
		return true
	})
	for name, entries := range map[string]map[string]string{"labels": s.GetLabels(), "annotations": s.GetAnnotations()} {
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			glob(name+"["+strconv.Quote(key)+"]", entries[key])
		}
	}
	if empty {
		report("", "a selector needs at least one key, or it would match every container")
	}
}

// Matches tells whether a text matches a glob: "*" is any text, "?" one character. An empty glob matches everything.
func Matches(glob, text string) bool {
	if glob == "" {
		return true
	}
	// star is where the latest '*' stands, and mark how much of the text it has taken.
	g, t, star, mark := 0, 0, -1, 0
	pattern, runes := []rune(glob), []rune(text)
	for t < len(runes) {
		switch {
		case g < len(pattern) && pattern[g] == '*':
			star, mark = g, t
			g++
		case g < len(pattern) && (pattern[g] == '?' || pattern[g] == runes[t]):
			g++
			t++
		case star >= 0:
			mark++
			g, t = star+1, mark
		default:
			return false
		}
	}
	for g < len(pattern) && pattern[g] == '*' {
		g++
	}
	return g == len(pattern)
}
