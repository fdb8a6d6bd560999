// SPDX-License-Identifier: Apache-2.0

package prompage

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/otlptranslator"

	"github.com/busbar/busbar/services/exporter/internal/cumulative"
)

const maxNameCache = 10_000

// labeler turns attributes into labels. It is used by one goroutine at a time.
type labeler struct {
	constant map[string]string
	base     []label           // of the constant labels
	names    map[string]string // label name by attribute name
	namer    otlptranslator.LabelNamer
}

type label struct{ name, value string }

func newLabeler(constant map[string]string) labeler {
	l := labeler{names: make(map[string]string), constant: constant}
	for _, name := range slices.Sorted(maps.Keys(constant)) {
		if value := cumulative.Clean([]byte(constant[name]), 0); len(value) > 0 {
			l.base = append(l.base, label{name, string(value)})
		}
	}
	return l
}

// Reserved tells whether a label says where a series comes from, or is part of how Prometheus shows a type.
func Reserved(label string) bool {
	switch label {
	case "job", "instance", "service_name", "service_namespace", "le", "quantile", "__name__":
		return true
	}
	return false
}

// resource returns the labels that each series of a resource has.
func (l *labeler) resource(identity cumulative.Attributes) []label {
	name, namespace, instance := identity.Get("service.name"), identity.Get("service.namespace"), identity.Get("service.instance.id")
	job := name
	if namespace != "" && name != "" {
		job = namespace + "/" + name
	}
	labels := slices.Clone(l.base)
	for _, of := range [...]label{{"instance", instance}, {"job", job}, {"service_name", name}, {"service_namespace", namespace}} {
		if of.value != "" {
			labels = append(labels, of)
		}
	}
	return labels
}

// identifying tells whether an attribute is on every series, and so not once more on target_info.
func identifying(attribute string) bool {
	switch attribute {
	case "service.name", "service.namespace", "service.instance.id":
		return true
	}
	return false
}

// append adds attributes to labels.
//
// Different attributes may become one label (a.b and a_b): their values are joined by ';' in the order of the attributes'
// names, as the specification has it.
func (l *labeler) append(labels []label, attributes iter.Seq2[string, string]) []label {
	begin := len(labels)
	for name, value := range attributes {
		labels = append(labels, label{l.name(name), value})
	}
	own := labels[begin:]
	slices.SortStableFunc(own, func(a, b label) int { return strings.Compare(a.name, b.name) })
	kept := own[:0]
	for _, next := range own {
		if last := len(kept) - 1; last >= 0 && kept[last].name == next.name {
			kept[last].value = string(cumulative.Clean([]byte(kept[last].value+";"+next.value), 0))
			continue
		}
		kept = append(kept, next)
	}
	return labels[:begin+len(kept)]
}

// pairs shows labels, in the order of names, and returns what identifies them among those of a family.
func pairs(labels []label) (shown []*dto.LabelPair, key string) {
	slices.SortFunc(labels, func(a, b label) int { return cmp.Compare(a.name, b.name) })
	all := make([]dto.LabelPair, len(labels)) // one allocation for all
	own := slices.Clone(labels)
	shown = make([]*dto.LabelPair, len(labels))
	var text strings.Builder
	for i := range own {
		all[i].Name, all[i].Value = &own[i].name, &own[i].value
		shown[i] = &all[i]
		text.WriteString(own[i].name)
		text.WriteByte('\xff') // no part of a label, which is valid UTF-8
		text.WriteString(own[i].value)
		text.WriteByte('\xff')
	}
	return shown, text.String()
}

// name returns the label name of an attribute. Where that belongs to someone else it begins with exported_, which is what
// Prometheus itself does.
func (l *labeler) name(attribute string) string {
	if name, ok := l.names[attribute]; ok {
		return name
	}
	name, err := l.namer.Build(attribute)
	if err != nil || strings.HasPrefix(name, "__") { // nothing legal in it, or reserved
		name = "key" + name
	}
	if len(name) > cumulative.MaxText {
		name = name[:cumulative.MaxText]
	}
	if _, taken := l.constant[name]; taken || Reserved(name) {
		name = "exported_" + name
	}
	if len(l.names) >= maxNameCache {
		clear(l.names)
	}
	l.names[strings.Clone(attribute)] = name
	return name
}
