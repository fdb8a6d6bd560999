// SPDX-License-Identifier: Apache-2.0

// Package ident says what a process is called: the name and namespace of its service and the attributes of its resource.
//
// It decides from what the probe reported about the process and its machine and from what the cluster says about its pod, so every
// replica that knows the same decides the same. Who knows best wins: what the process itself declares, then annotations of its pod or
// labels of its container, then other labels, then what runs it, then the program.
package ident

import (
	"cmp"
	"errors"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// Limits of what a process may say about itself: the attributes are repeated in every message about it.
const (
	maxName       = 255  // bytes of the name and of the namespace of a service
	maxValue      = 1024 // bytes of any other value
	maxAttributes = 64   // declared in OTEL_RESOURCE_ATTRIBUTES, and as many in annotations
	maxDeclared   = 8192 // bytes of them
)

// unknownService is the name that OpenTelemetry gives to a service of which nothing is known.
const unknownService = "unknown_service"

// Attribute is one attribute of a resource. An empty Text means that the value is Int.
type Attribute struct {
	Key  string
	Text string
	Int  int64
	List bool // the value is a list, and Text its only member
}

// Identity is what is known about the origin of telemetry.
type Identity struct {
	Name, Namespace string // of the service; the namespace may be empty
	// Attributes describe the resource, sorted by key, each key once. They include name and namespace.
	Attributes []Attribute
	Shared     bool // by all processes of a container, as far as they are the same otherwise
}

// Producer is who makes the telemetry: it goes into telemetry.sdk.* and telemetry.distro.*.
type Producer struct{ Name, Version string }

// Source is what an identity is made of. All but Process may be missing.
type Source struct {
	Process   *eventv1.Process
	Node      string            // host name of the machine
	Host      *eventv1.Host     // what the machine says about itself
	Pod       *kubev1.Pod       // of the process
	Container *kubev1.Container // of the pod
	KubeNode  *kubev1.Node      // the machine as the cluster knows it
	Cluster   string            // name of the cluster
}

// Of identifies a process.
//
// The name of the service is the first of: OTEL_SERVICE_NAME; service.name in OTEL_RESOURCE_ATTRIBUTES; the annotation (outside
// Kubernetes: label) resource.opentelemetry.io/service.name; the labels app.kubernetes.io/instance and app.kubernetes.io/name; the
// workload; the pod; the service of Compose or Swarm; the container; the base name of the executable; the command.
// The namespace is the first of: service.namespace in OTEL_RESOURCE_ATTRIBUTES; the annotation of that name; the label
// app.kubernetes.io/part-of; the namespace of the pod; the project of Compose or stack of Swarm.
//
// Other pairs of OTEL_RESOURCE_ATTRIBUTES become attributes, as do annotations resource.opentelemetry.io/KEY below them, and override
// what is known otherwise, except for telemetry.*, which tells who measured. If that variable is malformed, it is left out as a
// whole, as OpenTelemetry asks for, and the error says why; the identity is usable all the same.
func Of(s Source, by Producer) (Identity, error) {
	declared, err := parse(s.Process.GetOtelResourceAttributes())
	place := s.place()
	annotated := annotations(place.annotations)

	attributes := slices.Concat(s.machine(), s.program(place), place.attributes, annotated, declared, producer(s.Process.GetLanguage(), by))
	var id Identity
	id.Name = first(s.Process.GetOtelServiceName(), last(declared, "service.name"), last(annotated, "service.name"), place.name, program(s.Process), unknownService)
	id.Namespace = first(last(declared, "service.namespace"), last(annotated, "service.namespace"), place.namespace)
	attributes = append(attributes, Attribute{Key: "service.name", Text: id.Name}, Attribute{Key: "service.namespace", Text: id.Namespace})
	id.Attributes, id.Shared = tidy(attributes), place.instance != ""
	return id, err
}

// first returns the first of some names that is one.
func first(names ...string) string {
	for _, name := range names {
		if name = strings.TrimSpace(clip(name, maxName)); name != "" {
			return name
		}
	}
	return ""
}

// place is where a process runs.
type place struct {
	name, namespace string // of a service there
	instance        string // what tells apart the places of one service; "": the process does
	annotations     map[string]string
	attributes      []Attribute
}

// place finds out where a process runs: in a pod, in a container, or just on its machine.
func (s *Source) place() place {
	switch c := s.Process.GetContainer(); {
	case s.Pod != nil:
		return s.inPod()
	case c.GetLabels()[labelPodName] != "":
		return s.inUnknownPod()
	case c != nil:
		return s.inContainer()
	}
	return place{attributes: []Attribute{{Key: "container.id", Text: s.Process.GetContainerId()}}}
}

// program describes the process. In a pod it does not: all processes of a container are one instance, whose measurements add up, and
// what tells them apart would make the one resource several.
func (s *Source) program(at place) []Attribute {
	if at.instance != "" {
		return []Attribute{{Key: "service.instance.id", Text: at.instance}}
	}
	pid := strconv.FormatUint(uint64(s.Process.GetPid()), 10)
	return []Attribute{
		{Key: "process.executable.name", Text: program(s.Process)},
		{Key: "process.pid", Int: int64(s.Process.GetPid())},
		{Key: "service.instance.id", Text: s.Node + ":" + pid},
	}
}

// program names the executable of a process. An interpreter goes by its own name.
func program(p *eventv1.Process) string {
	executable := strings.TrimSuffix(p.GetExecutable(), " (deleted)") // the kernel's mark of a file that was replaced
	name := path.Base(executable)
	if executable == "" || name == "/" {
		name = p.GetCommand()
	}
	return cmp.Or(clip(name, maxName), unknownService)
}

// As returns attributes that say that somebody else makes the telemetry.
func As(name string, attributes []Attribute) []Attribute {
	attributes = slices.Clone(attributes)
	for i, a := range attributes {
		if a.Key == "telemetry.sdk.name" || a.Key == "telemetry.distro.name" {
			attributes[i].Text = name
		}
	}
	return attributes
}

func producer(language eventv1.Language, by Producer) []Attribute {
	return []Attribute{
		{Key: "telemetry.distro.name", Text: by.Name},
		{Key: "telemetry.distro.version", Text: by.Version},
		{Key: "telemetry.sdk.language", Text: languageName(language)},
		{Key: "telemetry.sdk.name", Text: by.Name},
		{Key: "telemetry.sdk.version", Text: by.Version},
	}
}

// languageName is the value of telemetry.sdk.language; "generic" is what Beyla calls a language that it does not know.
func languageName(language eventv1.Language) string {
	switch language {
	case eventv1.Language_LANGUAGE_GO:
		return "go"
	case eventv1.Language_LANGUAGE_JAVA:
		return "java"
	case eventv1.Language_LANGUAGE_NODEJS:
		return "nodejs"
	case eventv1.Language_LANGUAGE_PYTHON:
		return "python"
	case eventv1.Language_LANGUAGE_RUBY:
		return "ruby"
	case eventv1.Language_LANGUAGE_DOTNET:
		return "dotnet"
	case eventv1.Language_LANGUAGE_PHP:
		return "php"
	case eventv1.Language_LANGUAGE_RUST:
		return "rust"
	case eventv1.Language_LANGUAGE_CPP:
		return "cpp"
	case eventv1.Language_LANGUAGE_UNSPECIFIED:
	}
	return "generic"
}

// errMalformed is why a list of attributes is left out. It does not quote the list, which is nobody else's business.
var errMalformed = errors.New("want key=value pairs parted by commas, percent-encoded")

// parse reads OTEL_RESOURCE_ATTRIBUTES: key=value pairs parted by commas, keys and values percent-encoded.
func parse(list string) ([]Attribute, error) {
	var d declarations
	for pair := range strings.SplitSeq(list, ",") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errMalformed
		}
		key, err := url.PathUnescape(strings.TrimSpace(key))
		if key = clip(key, maxName); err != nil || key == "" {
			return nil, errMalformed
		}
		if value, err = url.PathUnescape(strings.TrimSpace(value)); err != nil {
			return nil, errMalformed
		}
		d.add(key, value)
	}
	return d.attributes, nil
}

// declarations are attributes that somebody declares, within bounds.
type declarations struct {
	attributes []Attribute
	size       int
}

func (d *declarations) add(key, value string) {
	value = clip(value, maxValue)
	if d.size += len(key) + len(value); len(d.attributes) < maxAttributes && d.size <= maxDeclared && !strings.HasPrefix(key, "telemetry.") {
		d.attributes = append(d.attributes, Attribute{Key: key, Text: value})
	}
}

// annotationPrefix begins the annotations that are attributes of the resource.
const annotationPrefix = "resource.opentelemetry.io/"

// annotations returns the attributes that annotations declare, in the order of their keys.
func annotations(all map[string]string) []Attribute {
	var keys []string
	for name := range all {
		if key, ok := strings.CutPrefix(name, annotationPrefix); ok && key != "" {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	var d declarations
	for _, key := range keys {
		if clipped := clip(key, maxName); clipped != "" {
			d.add(clipped, all[annotationPrefix+key])
		}
	}
	return d.attributes
}

// tidy sorts by key, keeps the last of equal keys, and drops what has no value.
func tidy(attributes []Attribute) []Attribute {
	slices.SortStableFunc(attributes, func(a, b Attribute) int { return cmp.Compare(a.Key, b.Key) })
	out := attributes[:0]
	for i, a := range attributes {
		superseded := i+1 < len(attributes) && attributes[i+1].Key == a.Key
		if superseded || a.Text == "" && a.Int == 0 {
			continue
		}
		if a.Text = clip(a.Text, maxValue); a.Text == "" && a.Int == 0 {
			continue
		}
		out = append(out, a)
	}
	return out
}

// Value returns the text of the attribute called key, "" if there is none.
func Value(attributes []Attribute, key string) string { return last(attributes, key) }

// last returns the value of the last attribute called key.
func last(attributes []Attribute, key string) (value string) {
	for _, a := range attributes {
		if a.Key == key {
			value = a.Text
		}
	}
	return value
}

// clip makes s valid UTF-8 of at most limit bytes.
func clip(s string, limit int) string {
	if len(s) > limit {
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "")
}
