// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// decode reads a node into what the pointer into points to. It is false if the node is of the wrong type as a whole.
func (r *reader) decode(n *yaml.Node, path string, into any) bool {
	return r.value(n, path, reflect.ValueOf(into).Elem())
}

// value reads a node into a settable Go value. Null leaves it as it is.
func (r *reader) value(n *yaml.Node, path string, v reflect.Value) bool {
	if node, ok := reflect.TypeAssert[**yaml.Node](v.Addr()); ok {
		*node = n
		return true
	}
	if isNull(n) {
		return true
	}
	switch t := v.Addr().Interface().(type) {
	case *any:
		*t = r.any(n, path, false)
		return true
	case *time.Duration:
		return r.parsed(n, path, func(s string) (err error) { *t, err = Duration(s); return err })
	case encoding.TextUnmarshaler:
		return r.parsed(n, path, func(s string) error { return t.UnmarshalText([]byte(s)) })
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return r.value(n, path, v.Elem())
	case reflect.Struct:
		return r.structure(n, path, v)
	case reflect.Map:
		return r.table(n, path, v)
	case reflect.Slice:
		items := reflect.MakeSlice(v.Type(), 0, len(n.Content))
		ok := r.list(n, path, func(item *yaml.Node, path string) {
			e := reflect.New(v.Type().Elem()).Elem()
			r.value(item, path, e)
			items = reflect.Append(items, e)
		})
		v.Set(items)
		return ok
	default:
		return r.basic(n, path, v)
	}
}

func (r *reader) parsed(n *yaml.Node, path string, set func(string) error) bool {
	s, ok := r.text(n, path)
	if !ok {
		return false
	}
	if err := set(s); err != nil {
		r.fault(n, path, "%v", err)
		return false
	}
	return true
}

// structure reads a map into the fields that have a yaml tag.
func (r *reader) structure(n *yaml.Node, path string, v reflect.Value) bool {
	fields := map[string]int{}
	var names []string
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name != "" && name != "-" {
			fields[name] = i
			names = append(names, name)
		}
	}
	return r.mapping(n, path, func(key, value *yaml.Node, path string) {
		i, ok := fields[key.Value]
		if !ok {
			r.fault(key, path, "unknown field %s", choices(key.Value, names))
			return
		}
		r.value(value, path, v.Field(i))
	})
}

// table reads a map into a Go map, which it replaces.
func (r *reader) table(n *yaml.Node, path string, v reflect.Value) bool {
	t := v.Type()
	if t.Key().Kind() != reflect.String {
		return r.basic(n, path, v)
	}
	v.Set(reflect.MakeMap(t))
	return r.mapping(n, path, func(key, value *yaml.Node, path string) {
		e := reflect.New(t.Elem()).Elem()
		r.value(value, path, e)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(t.Key()), e)
	})
}

func (r *reader) basic(n *yaml.Node, path string, v reflect.Value) (ok bool) {
	switch v.Kind() {
	case reflect.String:
		var s string
		if s, ok = r.text(n, path); ok {
			v.SetString(s)
		}
	case reflect.Bool:
		var b bool
		if b, ok = r.boolean(n, path); ok {
			v.SetBool(b)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		var i int64
		if i, ok = r.integer(n, path, v.Type().Bits()); ok {
			v.SetInt(i)
		}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		var u uint64
		if u, ok = r.unsigned(n, path, v.Type().Bits()); ok {
			v.SetUint(u)
		}
	case reflect.Float32, reflect.Float64:
		var f float64
		if f, ok = r.number(n, path, v.Type().Bits()); ok {
			v.SetFloat(f)
		}
	default: // a mistake of the program, which its first test shows
		r.fault(n, path, "cannot be read into a %s", v.Type())
	}
	return ok
}

// any reads a node into map[string]any, []any, string, bool, a number or nil. Whole numbers are int64, or uint64 beyond; with
// floats they are float64, and those that would not be exact are faults.
func (r *reader) any(n *yaml.Node, path string, floats bool) any {
	switch {
	case isNull(n):
		return nil
	case n.Kind == yaml.MappingNode:
		m := make(map[string]any, len(n.Content)/2)
		r.mapping(n, path, func(key, value *yaml.Node, path string) { m[key.Value] = r.any(value, path, floats) })
		return m
	case n.Kind == yaml.SequenceNode:
		s := make([]any, 0, len(n.Content))
		r.list(n, path, func(item *yaml.Node, path string) { s = append(s, r.any(item, path, floats)) })
		return s
	}
	switch n.ShortTag() {
	case "!!bool":
		b, _ := r.boolean(n, path)
		return b
	case "!!float":
		f, _ := r.number(n, path, 64)
		return f
	case "!!int":
		if floats {
			return r.exact(n, path)
		}
		if n.Value[0] != '-' {
			if u, ok := r.unsigned(n, path, 64); !ok || u > 1<<63-1 {
				return u
			}
		}
		i, _ := r.integer(n, path, 64)
		return i
	}
	return n.Value
}

// exact reads a whole number that a float64 holds as it is.
func (r *reader) exact(n *yaml.Node, path string) float64 {
	const most = 1 << 53
	i, ok := r.integer(n, path, 64)
	if ok && (i > most || i < -most) {
		r.fault(n, path, "%d is too large to be kept exactly: quote it", i)
	}
	return float64(i)
}
