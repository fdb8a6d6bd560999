// SPDX-License-Identifier: Apache-2.0

// Package ident says what a process is called: the name and namespace of its service and the attributes of its resource.
// It decides from what the probe reported about the process alone, so every replica decides the same.
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
)

// Limits of what a process may say about itself: the attributes are repeated in every message about it.
const (
	maxName       = 255  // bytes of the name and of the namespace of a service
	maxValue      = 1024 // bytes of any other value
	maxAttributes = 64   // declared in OTEL_RESOURCE_ATTRIBUTES
	maxDeclared   = 8192 // bytes of them
)

// unknownService is the name that OpenTelemetry gives to a service of which nothing is known.
const unknownService = "unknown_service"

// Attribute is one attribute of a resource. An empty Text means that the value is Int.
type Attribute struct {
	Key  string
	Text string
	Int  int64
}

// Identity is what is known about the origin of telemetry.
type Identity struct {
	Name, Namespace string // of the service; the namespace may be empty
	// Attributes describe the resource, sorted by key, each key once. They include name and namespace.
	Attributes []Attribute
}

// Producer is who makes the telemetry: it goes into telemetry.sdk.* and telemetry.distro.*.
type Producer struct{ Name, Version string }

// Of identifies a process of a node.
//
// The name of the service is the first of: OTEL_SERVICE_NAME; service.name in OTEL_RESOURCE_ATTRIBUTES; the base name of the
// executable; the command. Other pairs of OTEL_RESOURCE_ATTRIBUTES become attributes and override what the probe knows,
// except for telemetry.*, which tells who measured. If that variable is malformed, it is left out as a whole, as OpenTelemetry
// asks for, and the error says why; the identity is usable all the same.
func Of(p *eventv1.Process, node string, by Producer) (Identity, error) {
	declared, err := parse(p.GetOtelResourceAttributes())
	attributes := append(observed(p, node), declared...)
	attributes = append(attributes, producer(p.GetLanguage(), by)...)

	var id Identity
	id.Name = cmp.Or(clip(p.GetOtelServiceName(), maxName), clip(last(declared, "service.name"), maxName), program(p))
	id.Namespace = clip(last(declared, "service.namespace"), maxName)
	attributes = append(attributes, Attribute{Key: "service.name", Text: id.Name}, Attribute{Key: "service.namespace", Text: id.Namespace})
	id.Attributes = tidy(attributes)
	return id, err
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

func observed(p *eventv1.Process, node string) []Attribute {
	pid := strconv.FormatUint(uint64(p.GetPid()), 10)
	return []Attribute{
		{Key: "container.id", Text: p.GetContainerId()},
		{Key: "host.name", Text: node},
		{Key: "os.type", Text: "linux"},
		{Key: "process.executable.name", Text: program(p)},
		{Key: "process.pid", Int: int64(p.GetPid())},
		{Key: "service.instance.id", Text: node + ":" + pid},
	}
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
	var attributes []Attribute
	room := maxDeclared
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
		value = clip(value, maxValue)
		room -= len(key) + len(value)
		if len(attributes) < maxAttributes && room >= 0 && !strings.HasPrefix(key, "telemetry.") {
			attributes = append(attributes, Attribute{Key: key, Text: value})
		}
	}
	return attributes, nil
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
		a.Text = clip(a.Text, maxValue)
		out = append(out, a)
	}
	return out
}

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
