// SPDX-License-Identifier: Apache-2.0

// Package wire takes export requests of OTLP apart without decoding them: it checks every field, counts records, and makes a
// request for each service of what came, of the bytes that came.
package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/busbar/busbar/contract/subject"
)

// Part is a request with data of one service, no longer than the limit it was cut to.
type Part struct {
	Namespace, Service string // as the resource says; UnknownService if it does not
	Items              int    // records: spans, data points, log records
	Data               []byte // aliases the request where that is possible
	Group, Chunk       int    // name the part: which service of the request, and which piece of it
}

// maxResources bounds the resources of a request, since each takes memory beside the bytes that came: 8 MiB.
const maxResources = 100_000

// ErrTooMany means that a request has more resources than anybody has.
var ErrTooMany = fmt.Errorf("more than %d resources in one request", maxResources)

// UnknownService is the name of a service that has none, by the rules of OpenTelemetry.
const UnknownService = "unknown_service"

// Split makes a part, or several if it is longer than limit bytes, for each service in an export request, in the order of their first
// resources. TooLarge counts the records that are longer than a part may be, which are in none. An error says what in the request is
// malformed, and where; whatever is no error here is none for the decoder that later stages use.
func Split(s subject.Signal, request []byte, limit int) (parts []Part, tooLarge int, err error) {
	all, err := resources(request, requestOf(s))
	if errors.Is(err, errOld) {
		request = translate(request)
		all, err = resources(request, requestOf(s))
	}
	switch {
	case errors.Is(err, ErrTooMany):
		return nil, 0, err
	case err != nil:
		return nil, 0, fmt.Errorf("malformed protobuf: %w", err)
	}
	c := &cutter{root: requestOf(s), limit: limit}
	for i, g := range groups(all) {
		c.service(i, &g, request)
	}
	return c.parts, c.tooLarge, nil
}

func requestOf(s subject.Signal) message {
	switch s {
	case subject.Metrics:
		return metricsRequest
	case subject.Logs:
		return logsRequest
	default:
		return tracesRequest
	}
}

// translate makes a request of today of one with scopes as they were before OTLP 0.15. Only their number has changed since. A resource that
// has both has the same twice.
func translate(request []byte) (today []byte) {
	each(request, func(number uint64, whole, resource []byte) bool {
		if number != 1 || resource == nil {
			today = append(today, whole...)
			return true
		}
		var rest, old, scopes []byte
		each(resource, func(number uint64, whole, inside []byte) bool {
			switch {
			case number == 2:
				scopes = append(scopes, whole...)
			case number == oldScopesField && inside != nil:
				old = protowire.AppendBytes(protowire.AppendTag(old, 2, protowire.BytesType), inside)
			case number != oldScopesField:
				rest = append(rest, whole...)
			}
			return true
		})
		if len(scopes) == 0 {
			scopes = old
		}
		today = protowire.AppendTag(today, 1, protowire.BytesType)
		today = protowire.AppendVarint(today, uint64(len(rest)+len(scopes)))
		today = append(append(today, rest...), scopes...)
		return true
	})
	return today
}

// piece is a field: the whole of it, what is inside, and how many records that holds.
type piece struct {
	whole, inside []byte
	records       int
}

// resources checks a request and finds what lies in it.
func resources(request []byte, t message) (all []piece, err error) {
	sound := 0 // bytes that each has been through
	each(request, func(number uint64, whole, inside []byte) bool {
		if number == 0 || number > uint64(protowire.MaxValidNumber) {
			return false
		}
		sound += len(whole)
		if number != 1 {
			return true
		}
		p := piece{whole: whole, inside: inside}
		if inside == nil {
			sound = -1
			return false
		}
		start := sound - len(inside)
		p.records, err = scan(request, schema[t][1].below, start, sound, 1)
		if p.records > 0 {
			all = append(all, p)
		}
		if len(all) > maxResources {
			err = ErrTooMany
		}
		return err == nil
	})
	if err == nil && sound != len(request) {
		_, err = scan(request, t, 0, len(request), 0) // says what is wrong
	}
	return all, err
}

// group is what a request has of one service.
type group struct {
	namespace, service string
	resources          []piece
	size, records      int
}

// groups sorts resources by service.
func groups(resources []piece) []group {
	var all []group
	index := map[[2]string]int{}
	for _, p := range resources {
		namespace, service := identity(p.inside)
		i, ok := index[[2]string{namespace, service}]
		if !ok {
			i = len(all)
			index[[2]string{namespace, service}] = i
			all = append(all, group{namespace: namespace, service: service})
		}
		g := &all[i]
		g.resources = append(g.resources, p)
		g.size += len(p.whole)
		g.records += p.records
	}
	return all
}

// identity reads the name of the service from what is inside a ResourceSpans, ResourceMetrics or ResourceLogs. The first attribute of a
// name counts, if it is a text.
func identity(inside []byte) (namespace, service string) {
	var haveNamespace, haveService bool
	each(inside, func(number uint64, _, resource []byte) bool {
		if number != 1 {
			return true
		}
		each(resource, func(number uint64, _, attribute []byte) bool {
			if number != 1 {
				return true
			}
			switch key, value := pair(attribute); {
			case string(key) == "service.name" && !haveService:
				service, haveService = string(value), true
			case string(key) == "service.namespace" && !haveNamespace:
				namespace, haveNamespace = string(value), true
			}
			return !haveNamespace || !haveService
		})
		return true
	})
	if service == "" {
		service = UnknownService
	}
	return namespace, service
}

// pair returns the key of an attribute and its value, if that is a text.
func pair(attribute []byte) (key, value []byte) {
	each(attribute, func(number uint64, _, inside []byte) bool {
		switch number {
		case 1:
			key = inside
		case 2:
			each(inside, func(number uint64, _, text []byte) bool {
				if value = nil; number == 1 {
					value = text
				}
				return true
			})
		}
		return true
	})
	return key, value
}
