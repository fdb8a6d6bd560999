// SPDX-License-Identifier: Apache-2.0

// Package config reads what users declare: YAML documents of the shape
//
//	apiVersion: busbar.dev/v1
//	kind: Pipeline
//	metadata: {name: prod, labels: {team: shop}}
//	spec: {...}
//
// whose spec is decoded into a protobuf message by reflection. The package knows no kind; callers hand it [Kinds].
// Reading is strict, and all faults are reported at once, each with file, line, column and path.
//
// # How YAML meets protobuf
//
//   - A field is written under its JSON name (lowerCamelCase). Unknown and duplicate keys are faults.
//   - An enum value is written in lowerCamelCase without the prefix of its type: UNMATCHED_LOW_CARDINALITY of enum Unmatched is
//     lowCardinality. Values named ..._UNSPECIFIED cannot be written.
//   - A text field takes any scalar as it is written: 8080, 1.10 and true need no quotes. Number and bool fields are strict.
//   - At most one member of a oneof may be set.
//   - Shorthand: where a message is a member of a oneof, a list stands for its only repeated field and a text for its only
//     scalar field, if that is a text, or else for a list of one text. So {transform: 'a'} and {transform: ['a']} are
//     {transform: {statements: ['a']}}. The wrappers of google.protobuf take any scalar in this way.
//   - google.protobuf.Struct, Value and ListValue take any YAML. They hold numbers as float64, so a whole number that
//     does not fit (beyond 2^53) is a fault instead of a different number.
//   - A message, list or map without a value (null) is set but empty; a scalar without a value is a fault.
//   - Anchors and aliases work within bounds; merge keys (<<) and custom tags are refused.
//
// References such as ${env:NAME} stay text here; the service that needs the value calls [Expand]. Meaning is also left to
// services: they check a [Set] and point at what is wrong with [Resource.Fault].
package config

import (
	"slices"

	"google.golang.org/protobuf/proto"
)

// APIVersion is the only apiVersion that documents may have.
const APIVersion = "busbar.dev/v1"

// Kinds gives a fresh, empty spec message for each kind that may be declared.
type Kinds map[string]func() proto.Message

// Source is a named text of YAML documents. The name is what faults call the file.
type Source struct {
	Name string
	Data []byte
}

// Resource is one declared thing. It is not to be changed once loaded: services share it.
type Resource struct {
	Kind, Name string
	Labels     map[string]string
	Spec       proto.Message

	doc *document
}

// Set is what was declared, in the order of files and documents. It is immutable, and safe for concurrent use.
type Set struct {
	Resources []*Resource

	files []string
}

// Of returns the resources of a kind.
func (s *Set) Of(kind string) []*Resource {
	var of []*Resource
	for _, r := range s.Resources {
		if r.Kind == kind {
			of = append(of, r)
		}
	}
	return of
}

// Get returns the resource of that kind and name.
func (s *Set) Get(kind, name string) (*Resource, bool) {
	for _, r := range s.Resources {
		if r.Kind == kind && r.Name == name {
			return r, true
		}
	}
	return nil, false
}

// Files returns the paths that the resources refer to as ${file:PATH}, sorted, each once.
func (s *Set) Files() []string { return slices.Clone(s.files) }

// Load reads files, and the *.yaml and *.yml files that lie directly in folders, in order of name. Names that begin with a
// dot are passed over. An error is always [Faults], and comes without a set.
func Load(paths []string, kinds Kinds) (*Set, error) {
	sources, faults := read(paths)
	return build(sources, faults, kinds)
}

// Parse is [Load] for texts that are at hand.
func Parse(kinds Kinds, sources ...Source) (*Set, error) {
	return build(sources, nil, kinds)
}

func build(sources []Source, faults Faults, kinds Kinds) (*Set, error) {
	set, faults, _ := assemble(sources, faults, kinds)
	if len(faults) > 0 {
		return nil, faults
	}
	return set, nil
}

// assemble returns all that can be told of the sources: the set holds faulty resources too, as far as they could be read.
func assemble(sources []Source, faults Faults, kinds Kinds) (set *Set, all Faults, faulty map[*Resource]bool) {
	set, faulty = &Set{}, map[*Resource]bool{}
	first := map[[2]string]*Resource{}
	for _, src := range sources {
		docs, bad := documents(src)
		for _, doc := range docs {
			r, more := doc.resource(kinds)
			bad = append(bad, more...)
			if r == nil {
				continue
			}
			id := [2]string{r.Kind, r.Name}
			if other := first[id]; other != nil {
				at := other.Fault("metadata.name", "")
				bad = append(bad, r.Fault("metadata.name", "%s %q is already declared at %s:%d:%d",
					r.Kind, r.Name, at.File, at.Line, at.Col))
				continue
			}
			first[id] = r
			faulty[r] = len(more) > 0
			set.Resources = append(set.Resources, r)
			set.files = append(set.files, doc.files()...)
		}
		faults = append(faults, bad.tidy()...)
	}
	slices.Sort(set.files)
	set.files = slices.Compact(set.files)
	return set, faults, faulty
}
