// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"slices"
	"strings"
)

// Pair is a key with its value.
type Pair struct {
	Key   string
	Value Value
}

// Resource is what sends data: a service on a host, mostly. The subject of a message names Namespace and Service.
type Resource struct {
	Namespace, Service string
	data               []byte
}

// NewResource encodes a resource with attributes, of which those without value are left out. Attributes are sorted, so that
// equal resources are equal bytes.
func NewResource(attributes []Pair) Resource {
	slices.SortStableFunc(attributes, func(a, b Pair) int { return strings.Compare(a.Key, b.Key) })
	var r Resource
	last := ""
	for _, a := range attributes {
		if a.Value.Kind == 0 || a.Value.Kind == Text && a.Value.Text == "" || a.Key == last {
			continue
		}
		last = a.Key
		switch a.Key {
		case "service.name":
			r.Service = a.Value.Text
		case "service.namespace":
			r.Namespace = a.Value.Text
		}
		r.data = Attribute(r.data, resourceAttributes, a.Key, a.Value)
	}
	return r
}
