// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/structpb"
)

// message reads a map into a protobuf message. Null leaves it empty.
func (r *reader) message(n *yaml.Node, path string, m protoreflect.Message) {
	if openType(m.Descriptor()) {
		r.open(n, path, m)
		return
	}
	if isNull(n) {
		return
	}
	fields := m.Descriptor().Fields()
	r.mapping(n, path, func(key, value *yaml.Node, path string) {
		fd := fields.ByJSONName(key.Value)
		if fd == nil {
			r.fault(key, path, "unknown field %s", choices(key.Value, jsonNames(fields)))
			return
		}
		if od := realOneof(fd); od != nil {
			if other := m.WhichOneof(od); other != nil {
				r.fault(key, path, "%s is already set, only one of %s may be",
					other.JSONName(), strings.Join(jsonNames(od.Fields()), ", "))
				return
			}
		}
		r.field(value, path, m, fd)
	})
}

// field reads the value of one field into m.
func (r *reader) field(n *yaml.Node, path string, m protoreflect.Message, fd protoreflect.FieldDescriptor) {
	switch {
	case fd.IsMap():
		if isNull(n) {
			return
		}
		entries := m.Mutable(fd).Map()
		r.mapping(n, path, func(key, value *yaml.Node, path string) {
			k, ok := r.scalar(key, path, fd.MapKey())
			if !ok {
				return
			}
			if v, ok := r.single(value, path, fd.MapValue(), entries.NewValue); ok {
				entries.Set(k.MapKey(), v)
			}
		})
	case fd.IsList():
		if isNull(n) {
			return
		}
		items := m.Mutable(fd).List()
		r.list(n, path, func(item *yaml.Node, path string) {
			if v, ok := r.single(item, path, fd, items.NewElement); ok {
				items.Append(v)
			}
		})
	default:
		if v, ok := r.single(n, path, fd, func() protoreflect.Value { return m.NewField(fd) }); ok {
			m.Set(fd, v)
		}
	}
}

// single reads one value: a field that is not repeated, an element or a map value.
func (r *reader) single(n *yaml.Node, path string, fd protoreflect.FieldDescriptor,
	fresh func() protoreflect.Value,
) (protoreflect.Value, bool) {
	if fd.Message() == nil {
		return r.scalar(n, path, fd)
	}
	v := fresh()
	switch list, scalar := shorthands(fd); {
	case n.Kind == yaml.SequenceNode && list != nil:
		r.field(n, path, v.Message(), list)
	case n.Kind == yaml.ScalarNode && !isNull(n) && scalar != nil:
		r.field(n, path, v.Message(), scalar)
	case n.Kind == yaml.ScalarNode && !isNull(n) && list != nil && list.Kind() == protoreflect.StringKind:
		one := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{n}}
		r.field(one, path, v.Message(), list)
	default:
		r.message(n, path, v.Message())
	}
	return v, true
}

// shorthands returns the fields of fd's message that a list and a scalar may stand for, nil where there is none. Scalars
// stand for texts only, except in wrappers: a message that has one switch today will have two tomorrow.
func shorthands(fd protoreflect.FieldDescriptor) (list, scalar protoreflect.FieldDescriptor) {
	md := fd.Message()
	wrapper := md.ParentFile().Path() == "google/protobuf/wrappers.proto"
	if openType(md) || realOneof(fd) == nil && !wrapper {
		return nil, nil
	}
	var lists, scalars int
	for i := range md.Fields().Len() {
		switch f := md.Fields().Get(i); {
		case f.IsMap():
		case f.IsList():
			list = f
			lists++
		case f.Message() == nil:
			scalar = f
			scalars++
		}
	}
	if lists != 1 {
		list = nil
	}
	if scalars != 1 || !wrapper && scalar.Kind() != protoreflect.StringKind {
		scalar = nil
	}
	return list, scalar
}

// scalar reads what is not a message.
func (r *reader) scalar(n *yaml.Node, path string, fd protoreflect.FieldDescriptor) (v protoreflect.Value, ok bool) {
	switch fd.Kind() {
	case protoreflect.EnumKind:
		return r.enum(n, path, fd.Enum())
	case protoreflect.BoolKind:
		b, ok := r.boolean(n, path)
		return protoreflect.ValueOfBool(b), ok
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, ok := r.integer(n, path, 32)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, ok := r.integer(n, path, 64)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		u, ok := r.unsigned(n, path, 32)
		return protoreflect.ValueOfUint32(uint32(u)), ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		u, ok := r.unsigned(n, path, 64)
		return protoreflect.ValueOfUint64(u), ok
	case protoreflect.FloatKind:
		f, ok := r.number(n, path, 32)
		return protoreflect.ValueOfFloat32(float32(f)), ok
	case protoreflect.DoubleKind:
		f, ok := r.number(n, path, 64)
		return protoreflect.ValueOfFloat64(f), ok
	case protoreflect.BytesKind:
		b, ok := r.bytes(n, path)
		return protoreflect.ValueOfBytes(b), ok
	default: // string; messages do not come here
		s, ok := r.text(n, path)
		return protoreflect.ValueOfString(s), ok
	}
}

func (r *reader) enum(n *yaml.Node, path string, ed protoreflect.EnumDescriptor) (v protoreflect.Value, ok bool) {
	names := enumNames(ed)
	s, ok := r.text(n, path)
	if !ok {
		return v, false
	}
	for i := range ed.Values().Len() {
		if value := ed.Values().Get(i); names[i] != "" && names[i] == s {
			return protoreflect.ValueOfEnum(value.Number()), true
		}
	}
	r.fault(n, path, "unknown value %s %s", quoted(s), choices(s, written(names)))
	return v, false
}

// enumNames returns how each value of an enum is written, in order of declaration, "" for one that cannot be.
func enumNames(ed protoreflect.EnumDescriptor) []string {
	prefix := upperSnake(string(ed.Name())) + "_"
	names := make([]string, ed.Values().Len())
	for i := range names {
		name := string(ed.Values().Get(i).Name())
		if !strings.HasSuffix(name, "_UNSPECIFIED") {
			names[i] = lowerCamel(strings.TrimPrefix(name, prefix))
		}
	}
	return names
}

// written leaves out the names that cannot be written.
func written(names []string) []string {
	var out []string
	for _, name := range names {
		if name != "" {
			out = append(out, name)
		}
	}
	return out
}

// upperSnake turns RouteStyle into ROUTE_STYLE.
func upperSnake(camel string) string {
	var b strings.Builder
	for i, c := range camel {
		if i > 0 && 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(c)
	}
	return strings.ToUpper(b.String())
}

// lowerCamel turns LOW_CARDINALITY into lowCardinality.
func lowerCamel(snake string) string {
	words := strings.Split(strings.ToLower(snake), "_")
	for i, w := range words {
		if i > 0 && w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// jsonNames are the names of fields, but for deprecated ones: those are known only to be refused with a reason.
func jsonNames(fields protoreflect.FieldDescriptors) []string {
	var names []string
	for i := range fields.Len() {
		if fd := fields.Get(i); !deprecated(fd) {
			names = append(names, fd.JSONName())
		}
	}
	return names
}

func deprecated(fd protoreflect.FieldDescriptor) bool {
	options, ok := fd.Options().(*descriptorpb.FieldOptions)
	return ok && options.GetDeprecated()
}

// realOneof returns the oneof that fd is a member of; one that only marks an optional field does not count.
func realOneof(fd protoreflect.FieldDescriptor) protoreflect.OneofDescriptor {
	if od := fd.ContainingOneof(); od != nil && !od.IsSynthetic() {
		return od
	}
	return nil
}

// openType tells the messages that take any YAML.
func openType(md protoreflect.MessageDescriptor) bool {
	return md.ParentFile().Path() == "google/protobuf/struct.proto"
}

// open reads any YAML into a google.protobuf.Struct, ListValue or Value.
func (r *reader) open(n *yaml.Node, path string, m protoreflect.Message) {
	name := m.Descriptor().Name()
	switch {
	case name != "Value" && isNull(n):
		return
	case name == "Struct" && n.Kind != yaml.MappingNode:
		r.want(n, path, "a map")
		return
	case name == "ListValue" && n.Kind != yaml.SequenceNode:
		r.want(n, path, "a list")
		return
	}
	before := len(r.faults)
	v, err := structpb.NewValue(r.any(n, path, true))
	if err != nil && len(r.faults) == before {
		r.fault(n, path, "%v", err)
	}
	if err != nil {
		return
	}
	var src proto.Message = v
	switch name {
	case "Struct":
		src = v.GetStructValue()
	case "ListValue":
		src = v.GetListValue()
	}
	proto.Merge(m.Interface(), src)
}
