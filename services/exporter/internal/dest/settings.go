// SPDX-License-Identifier: Apache-2.0

// Package dest runs destinations: it reads what users declare about a back end, hands it what waits on its stream, and
// knows how it does.
//
// Each destination has a consumer, workers, a pace and a state of its own, and shares nothing with the others but the
// connection to the bus. A message is acknowledged when the back end has it. While a back end fails, one message at a time
// tries it and the rest wait where they are, so that an outage costs next to nothing and ends when the back end is back.
package dest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
)

// Settings is what users say about one back end, with references such as ${env:NAME} unresolved.
type Settings struct {
	exporter exporter
}

// exporter is the settings of one kind of back end. Once read it is not changed.
type exporter interface {
	// into is what config.Decode reads the settings into.
	into() any
	// check reports what is wrong with the settings as they stand. Texts with references are left to open.
	check(at report)
	// texts returns the settings in which references are resolved, by path.
	texts() map[string]string
	// resolved returns a copy in which these texts stand.
	resolved(texts map[string]string) exporter
	// open makes the settings work. The error says what is misconfigured, without the values of references.
	open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error)
}

// report takes what is wrong with a setting. The path is that of the setting below the exporter's name.
type report func(path, format string, args ...any)

// Read decodes the settings of a Destination resource. It reports what can be told wrong without looking around; the rest
// is for [Settings.References].
func Read(r *config.Resource) (Settings, config.Faults) {
	spec, ok := r.Spec.(*configv1.Destination)
	if !ok {
		return Settings{}, config.Faults{r.Fault("spec", "want a Destination")}
	}
	settings, path := declared(spec)
	if settings == nil {
		return Settings{}, config.Faults{r.Fault("spec", "want one exporter (known: %s)", strings.Join(slices.Sorted(maps.Keys(kinds())), ", "))}
	}
	faults := config.Decode(r, path, settings.into())
	if len(faults) == 0 {
		settings.check(func(at, format string, args ...any) {
			faults = append(faults, r.Fault(path+at, format, args...))
		})
	}
	return Settings{settings}, faults
}

// kinds makes the defaults of each exporter, by the name that declares it.
func kinds() map[string]func() exporter {
	http := func() exporter { return NewHTTP() }
	grpc := func() exporter { return NewGRPC() }
	return map[string]func() exporter{
		"otlp_http": http, "otlphttp": http,
		"otlp_grpc": grpc, "otlp": grpc,
		"prometheus":            func() exporter { return NewPrometheus() },
		"prometheusremotewrite": newRemoteWrite, "prometheus_remote_write": newRemoteWrite,
		"kafka": newKafka, "clickhouse": newClickHouse, "debug": newDebug,
		"file":          func() exporter { return NewFile() },
		"datadog":       func() exporter { return NewDatadog() },
		"elasticsearch": func() exporter { return NewElasticsearch() },
	}
}

// declared returns the defaults of the exporter that a spec names, and the path of its settings.
func declared(spec *configv1.Destination) (exporter, string) {
	m := spec.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("exporter"))
	if field == nil {
		return nil, ""
	}
	return kinds()[field.JSONName()](), "spec." + field.JSONName()
}

// References reports the references in the settings of a resource that cannot be resolved here and now.
func (s Settings) References(r *config.Resource) config.Faults {
	spec, ok := r.Spec.(*configv1.Destination)
	if !ok || s.exporter == nil {
		return nil
	}
	_, path := declared(spec)
	var faults config.Faults
	for _, at := range slices.Sorted(maps.Keys(s.exporter.texts())) {
		if _, err := config.Expand(s.exporter.texts()[at]); err != nil {
			faults = append(faults, r.Fault(path+at, "%v", err))
		}
	}
	return faults
}

// Page returns the listen address of a Prometheus page, and "" for any other destination.
func (s Settings) Page() string {
	if p, ok := s.exporter.(*Prometheus); ok {
		return p.Endpoint
	}
	return ""
}

// resolve returns the exporter with its references resolved.
func (s Settings) resolve() (exporter, error) {
	texts := s.exporter.texts()
	var errs []error
	for _, path := range slices.Sorted(maps.Keys(texts)) {
		secret, err := config.Expand(texts[path])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", strings.TrimPrefix(path, "."), err))
		}
		texts[path] = secret.Reveal()
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s.exporter.resolved(texts), nil
}

// hasReference tells whether a text is only known once its references are resolved.
func hasReference(text string) bool { return strings.Contains(text, "${") }

// checkPolicy refuses settings that the Collector has because it has no stream.
func checkPolicy(at report, queue, retry any) {
	if queue != nil {
		at(".sending_queue", "the stream is the queue: it keeps on disk what waits for this destination; remove sending_queue")
	}
	if retry != nil {
		at(".retry_on_failure", "the stream is the queue: a message is repeated until the destination takes it; remove retry_on_failure")
	}
}

// checkHeaders reports names that no protocol would carry.
func checkHeaders(at report, headers map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !legalHeader(name) {
			at(headerPath(name), "%q is no legal header name", name)
		}
	}
}

func legalHeader(name string) bool {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	return name != "" && strings.Trim(name, token) == ""
}

// headerPath is the path of a header among the settings.
func headerPath(name string) string { return fmt.Sprintf(".headers[%q]", name) }

// headerTexts adds the values of headers to the texts of an exporter.
func headerTexts(texts, headers map[string]string) map[string]string {
	for name, value := range headers {
		texts[headerPath(name)] = value
	}
	return texts
}

// resolvedHeaders is the opposite of headerTexts.
func resolvedHeaders(texts, headers map[string]string) map[string]string {
	out := make(map[string]string, len(headers))
	for name := range headers {
		out[name] = texts[headerPath(name)]
	}
	return out
}

// checkValues refuses values that would break a request; such a one is a secret that was read from the wrong file.
func checkValues(headers map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if strings.ContainsFunc(headers[name], func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("headers[%q]: the value has line breaks or other control characters", name)
		}
	}
	return nil
}

// Of returns settings that a program made. They must not be changed afterwards.
func Of[E interface{ *HTTP | *GRPC | *Prometheus }](e E) Settings { return Settings{any(e).(exporter)} } //nolint:forcetypeassert // all three are
