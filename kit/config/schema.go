// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// JSONSchema returns the JSON Schema (draft 2020-12) of a document of these kinds, for editors. It accepts what [Load] accepts
// as far as types go; what a whole set means is for services to check.
func JSONSchema(kinds Kinds) []byte {
	s := schema{}
	names := kinds.names()
	slices.Sort(names)
	byKind := make([]any, 0, len(names))
	for _, kind := range names {
		spec := s.ref(kinds[kind]().ProtoReflect().Descriptor())
		byKind = append(byKind, object{
			"if":   object{"properties": object{"kind": object{"const": kind}}},
			"then": object{"properties": object{"spec": spec}},
		})
	}
	text := object{"type": "string"}
	out, err := json.MarshalIndent(object{
		"$schema":  "https://json-schema.org/draft/2020-12/schema",
		"title":    "Busbar resource",
		"type":     "object",
		"required": []string{"apiVersion", "kind", "metadata"},
		"properties": object{
			"apiVersion": object{"const": APIVersion},
			"kind":       object{"enum": names},
			"metadata": object{
				"type":     "object",
				"required": []string{"name"},
				"properties": object{
					"name":   object{"type": "string", "pattern": legalName.String()},
					"labels": object{"type": "object", "additionalProperties": text},
				},
				"additionalProperties": false,
			},
			"spec": true,
		},
		"additionalProperties": false,
		"allOf":                byKind,
		"$defs":                s,
	}, "", "  ")
	if err != nil {
		panic(err) // maps, lists and texts always marshal
	}
	return append(out, '\n')
}

type object = map[string]any

// schema holds the definitions of messages by full name.
type schema map[string]any

// ref returns a schema that refers to the definition of a message, which it makes if need be.
func (s schema) ref(md protoreflect.MessageDescriptor) object {
	if openType(md) {
		switch md.Name() {
		case "Struct":
			return object{"type": []string{"object", "null"}}
		case "ListValue":
			return object{"type": []string{"array", "null"}}
		}
		return object{}
	}
	name := string(md.FullName())
	if _, ok := s[name]; !ok {
		s[name] = nil // a message may contain itself
		s[name] = s.message(md)
	}
	return object{"$ref": "#/$defs/" + name}
}

func (s schema) message(md protoreflect.MessageDescriptor) object {
	properties := object{}
	for i := range md.Fields().Len() {
		if fd := md.Fields().Get(i); !deprecated(fd) {
			properties[fd.JSONName()] = s.field(fd)
		}
	}
	out := object{"type": []string{"object", "null"}, "properties": properties, "additionalProperties": false}
	var exclusive []any
	for i := range md.Oneofs().Len() {
		if od := md.Oneofs().Get(i); !od.IsSynthetic() {
			exclusive = append(exclusive, object{"oneOf": atMostOne(jsonNames(od.Fields()))})
		}
	}
	if exclusive != nil {
		out["allOf"] = exclusive
	}
	return out
}

// atMostOne lists the ways to have at most one of the properties: each alone, or none.
func atMostOne(names []string) []any {
	var ways []any
	for _, name := range names {
		ways = append(ways, object{"required": []string{name}})
	}
	return append(ways, object{"not": object{"anyOf": slices.Clone(ways)}})
}

func (s schema) field(fd protoreflect.FieldDescriptor) object {
	switch {
	case fd.IsMap():
		return object{"type": []string{"object", "null"}, "additionalProperties": s.single(fd.MapValue())}
	case fd.IsList():
		return object{"type": []string{"array", "null"}, "items": s.single(fd)}
	}
	return s.single(fd)
}

// single is the schema of one value, with the shorthand that is allowed for it.
func (s schema) single(fd protoreflect.FieldDescriptor) object {
	if fd.Message() == nil {
		return scalarSchema(fd)
	}
	ways := []any{s.ref(fd.Message())}
	list, scalar := shorthands(fd)
	if list != nil {
		ways = append(ways, object{"type": "array", "items": s.single(list)})
	}
	switch {
	case scalar != nil:
		ways = append(ways, scalarSchema(scalar))
	case list != nil && list.Kind() == protoreflect.StringKind:
		ways = append(ways, scalarSchema(list))
	}
	if len(ways) == 1 {
		return s.ref(fd.Message())
	}
	return object{"anyOf": ways}
}

func scalarSchema(fd protoreflect.FieldDescriptor) object {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return object{"type": "boolean"}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return object{"type": "number"}
	case protoreflect.StringKind, protoreflect.BytesKind:
		return object{"type": []string{"string", "number", "boolean"}}
	case protoreflect.EnumKind:
		return object{"enum": written(enumNames(fd.Enum()))}
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		return object{"type": "integer", "minimum": 0}
	default:
		return object{"type": "integer"}
	}
}
