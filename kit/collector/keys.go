// SPDX-License-Identifier: Apache-2.0

package collector

import (
	"encoding"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/busbar/busbar/kit/config"
)

// unknownKeys reports keys that a configuration of type t has no field for. The decoder does so itself, but no longer once a
// component embeds something that decodes itself, and then a mistyped key would be passed over.
func unknownKeys(t reflect.Type, settings any, at string) []Fault {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	var faults []Fault
	switch v := settings.(type) {
	case map[string]any:
		known := fieldsOf(t)
		for _, key := range slices.Sorted(maps.Keys(v)) {
			of, ok := known.find(key)
			if !ok {
				faults = append(faults, Fault{at + step(key), "unknown field " + config.Choices(key, slices.Collect(maps.Keys(known.types)))})
			} else if of != nil {
				faults = append(faults, unknownKeys(of, v[key], at+step(key))...)
			}
		}
	case []any:
		if t.Kind() == reflect.Slice {
			for i, item := range v {
				faults = append(faults, unknownKeys(t.Elem(), item, at+"["+strconv.Itoa(i)+"]")...)
			}
		}
	}
	return faults
}

// fields are the keys that a type takes.
type fields struct {
	types map[string]reflect.Type
	rest  reflect.Type // of all other keys; nil for none
	open  bool         // anything goes
}

func (f fields) find(key string) (reflect.Type, bool) {
	if t, ok := f.types[key]; ok {
		return t, true
	}
	return f.rest, f.open || f.rest != nil
}

// fieldsOf reads the tags of a struct as the decoder does.
func fieldsOf(t reflect.Type) fields {
	f := fields{types: map[string]reflect.Type{}}
	switch {
	case t.Kind() == reflect.Map:
		f.rest = t.Elem()
	case t.Kind() != reflect.Struct:
		f.open = true // a wrong type is for the decoder to tell
	case strings.HasPrefix(t.Name(), "Optional["): // the Collector's
		if value, ok := t.FieldByName("value"); ok {
			f = fieldsOf(value.Type)
			if f.types["enabled"] == nil && !f.open {
				f.types["enabled"] = reflect.TypeFor[bool]()
			}
		}
	default:
		f.add(t)
	}
	return f
}

// add takes the fields of a struct in.
func (f *fields) add(t reflect.Type) {
	for field := range t.Fields() {
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		of := field.Type
		for of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		switch {
		case name == "-" || !field.IsExported() && !field.Anonymous:
		case strings.Contains(options, "remain"):
			f.open = true
		case strings.Contains(options, "squash") && of.Kind() == reflect.Struct:
			inner := fieldsOf(of)
			maps.Copy(f.types, inner.types)
			f.open = f.open || inner.open
		case name != "":
			f.types[name] = of
		case field.IsExported():
			f.types[field.Name] = of
		}
	}
}
