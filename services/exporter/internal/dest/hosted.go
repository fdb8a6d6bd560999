// SPDX-License-Identifier: Apache-2.0

package dest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/contract"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/collector/exporters"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/exporter/internal/otlp"
)

// hosted is the settings of an exporter of the Collector.
type hosted struct {
	name     string // that exporter's; settings are compared, so that they cannot hold its functions
	declared map[string]any
	secrets  []string // what references have yielded
}

func newKafka() exporter       { return &hosted{name: "kafka"} }
func newClickHouse() exporter  { return &hosted{name: "clickhouse"} }
func newDebug() exporter       { return &hosted{name: "debug"} }
func newRemoteWrite() exporter { return &remoteWrite{hosted{name: "prometheusremotewrite"}} }

// kind returns what the settings are for.
func (h *hosted) kind() collector.ExporterKind {
	switch h.name {
	case "kafka":
		return exporters.Kafka()
	case "clickhouse":
		return exporters.ClickHouse()
	case "prometheusremotewrite":
		return exporters.PrometheusRemoteWrite()
	}
	return exporters.Debug()
}

func (h *hosted) into() any { return &h.declared }

// check has the exporter look at its settings. While there are references it is lenient: a text that is not known yet may be
// wrong in any way.
func (h *hosted) check(at report) {
	texts := h.texts()
	unknown := func(path string) bool {
		for p, text := range texts {
			if rest, ok := strings.CutPrefix(p, path); ok && hasReference(text) && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return true
			}
		}
		return false
	}
	if _, faults := h.kind().Decode(h.declared); faults != nil {
		for _, f := range faults {
			if !unknown(f.Path) {
				at(f.Path, "%s", f.Reason)
			}
		}
	}
	if _, err := h.timeout(); err != nil {
		at(".timeout", "%v", err)
	}
}

// texts returns all that have a dollar sign.
func (h *hosted) texts() map[string]string {
	texts := make(map[string]string)
	walk(h.declared, "", func(path, text string) string {
		if strings.Contains(text, "$") {
			texts[path] = text
		}
		return text
	})
	return texts
}

func (h *hosted) resolved(texts map[string]string) exporter {
	c := h.withTexts(texts)
	return &c
}

func (h *hosted) withTexts(texts map[string]string) hosted {
	c := *h
	c.declared, _ = walk(h.declared, "", func(path, text string) string {
		resolved, ok := texts[path]
		if !ok {
			return text
		}
		if hasReference(text) {
			c.secrets = append(c.secrets, resolved)
		}
		return resolved
	}).(map[string]any)
	slices.Sort(c.secrets) // as settings are compared
	return c
}

// minSecret is the length from which on a text is looked for in errors: shorter ones would make them unreadable.
const minSecret = 4

// redacted returns an error without what references have yielded, which an exporter may quote.
func (h *hosted) redacted(err error) error {
	text := err.Error()
	for _, secret := range h.secrets {
		if len(secret) >= minSecret {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	if text == err.Error() {
		return err
	}
	if e, ok := errors.AsType[*otlp.Error](err); ok {
		return &otlp.Error{Class: e.Class, After: e.After, Reason: e.Reason, Err: errors.New(text)}
	}
	return errors.New(text)
}

// walk returns a copy of a value out of YAML in which fn has replaced the texts.
func walk(v any, path string, fn func(path, text string) string) any {
	switch v := v.(type) {
	case string:
		return fn(path, v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = walk(value, below(path, key), fn)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = walk(value, path+"["+strconv.Itoa(i)+"]", fn)
		}
		return out
	}
	return v
}

// below is the path of a key of the map at path.
func below(path, key string) string {
	step := config.Path("", key)
	if strings.HasPrefix(step, "[") {
		return path + step
	}
	return path + "." + step
}

// defaultTimeout of an attempt is that of the Collector's exporters.
const defaultTimeout = 5 * time.Second

func (h *hosted) timeout() (time.Duration, error) {
	text, ok := h.declared["timeout"].(string)
	if !ok {
		return defaultTimeout, nil // any other type is for the exporter to refuse
	}
	d, err := config.Duration(text)
	if err == nil && d == 0 {
		err = errors.New("want more than 0s")
	}
	return d, err
}

func (h *hosted) open(ctx context.Context, userAgent string, log *slog.Logger) (sink, error) {
	return h.start(ctx, userAgent, log)
}

// startTimeout bounds the start of an exporter, which may connect.
const startTimeout = 15 * time.Second

func (h *hosted) start(ctx context.Context, userAgent string, log *slog.Logger) (*hostedSink, error) {
	cfg, faults := h.kind().Decode(h.declared)
	if faults != nil {
		var errs []error
		for _, f := range faults {
			errs = append(errs, fmt.Errorf("%s: %s", strings.TrimPrefix(f.Path, "."), f.Reason))
		}
		return nil, h.redacted(errors.Join(errs...))
	}
	timeout, err := h.timeout()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	e, err := h.kind().Start(ctx, cfg, collector.ExporterSettings{
		Version: strings.TrimPrefix(userAgent, contract.UserAgent), Timeout: timeout, Log: log,
	})
	if err != nil {
		return nil, h.redacted(startError(err))
	}
	return &hostedSink{exporter: e, log: log}, nil
}

// hostedSink hands decoded messages to an exporter of the Collector.
type hostedSink struct {
	exporter *collector.Exporter
	log      *slog.Logger
}

func (*hostedSink) workers() int { return sendWorkers }

func (s *hostedSink) run(ctx context.Context) error {
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := s.exporter.Shutdown(end); err != nil {
		s.log.Warn("exporter does not end well", "error", err)
	}
	return nil
}

func (s *hostedSink) take(ctx context.Context, r otlp.Request, items int) (map[string]int, error) {
	err := s.consume(ctx, r)
	if errors.Is(err, collector.ErrSignal) {
		return map[string]int{reasonSignal: items}, nil
	}
	return nil, judge(err)
}

// consume decodes a request and hands it over.
func (s *hostedSink) consume(ctx context.Context, r otlp.Request) error {
	switch r.Signal {
	case subject.Traces:
		request := ptraceotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return undecodable(err)
		}
		return s.exporter.ConsumeTraces(ctx, request.Traces())
	case subject.Metrics:
		request := pmetricotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return undecodable(err)
		}
		return s.exporter.ConsumeMetrics(ctx, request.Metrics())
	case subject.Logs:
		request := plogotlp.NewExportRequest()
		if err := request.UnmarshalProto(r.Body); err != nil {
			return undecodable(err)
		}
		return s.exporter.ConsumeLogs(ctx, request.Logs())
	}
	return &otlp.Error{Class: otlp.Invalid, Reason: "signal", Err: fmt.Errorf("no exporter for signal %q", r.Signal)}
}

func undecodable(err error) error {
	return &otlp.Error{Class: otlp.Invalid, Reason: reasonUndecodable, Err: err}
}

// reasonUndecodable is the reason of dead letters that are no OTLP.
const reasonUndecodable = "undecodable"
