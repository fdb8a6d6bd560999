// SPDX-License-Identifier: Apache-2.0

package mapping

import (
	"cmp"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"

	"github.com/busbar/busbar/services/ingest-datadog/internal/decode"
	"github.com/busbar/busbar/services/ingest-datadog/internal/otlp"
)

// Traces maps what one process sent, and returns how many spans that was.
func (m *Mapper) Traces(out *Output, tenant string, t decode.Traces, from From) (int, error) {
	p := process{Mapper: m, out: out, traces: t, from: from, scopeOf: m.scope()}
	p.survey()
	n := 0
	for _, c := range t.Chunks {
		n += len(c.Spans)
		if decode.TraceID(c) == [16]byte{} {
			out.Dropped[BadTrace] += len(c.Spans)
			continue
		}
		ch := chunk{process: &p, InternalTraceChunk: c, id: m.IDs.of(tenant, c)}
		ch.state = ch.context()
		for _, s := range c.Spans {
			if err := ch.span(s); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// process is the traces of one process while they are mapped.
type process struct {
	*Mapper
	out       *Output
	traces    decode.Traces
	from      From
	scopeOf   otlp.Scope
	services  map[string]*service
	runtime   string
	pid       int64
	language  string
	converted bool
	view      view
}

// service is what spans say about the service that they are of.
type service struct {
	env, version string
	resource     otlp.Resource
	made         bool
}

// base is the service whose process a span was made in.
func base(s *idx.InternalSpan) string {
	if b, ok := s.GetAttributeAsString("_dd.base_service"); ok && b != "" {
		return b
	}
	return s.Service()
}

// survey looks for what is said once and holds for all: each service's version, the process.
func (p *process) survey() {
	p.services = map[string]*service{}
	p.converted = p.traces.Converted
	for _, c := range p.traces.Chunks {
		for _, s := range c.Spans {
			of := p.service(p.owner(s))
			if of.env == "" {
				of.env = s.Env()
			}
			if of.version == "" && s.Service() == p.owner(s) {
				of.version = s.Version()
			}
			if v, ok := s.GetAttributeAsString("runtime-id"); ok && p.runtime == "" {
				p.runtime = v
			}
			if v, ok := s.GetAttributeAsFloat64("process_id"); ok && p.pid == 0 && v < math.MaxInt32 {
				p.pid = int64(v)
			}
			if v, ok := s.GetAttributeAsString("language"); ok && p.language == "" {
				p.language = v
			}
		}
	}
}

// owner is the service that a span goes out under: that of its process, unless it says another and is no call.
func (p *process) owner(s *idx.InternalSpan) string {
	b := base(s)
	if k := p.kind(s); k == otlp.KindClient || k == otlp.KindProducer {
		return b
	}
	return s.Service()
}

func (p *process) service(name string) *service {
	of := p.services[name]
	if of == nil {
		of = &service{}
		p.services[name] = of
	}
	return of
}

// resource is who sent the spans of a service.
func (p *process) resource(name string) otlp.Resource {
	of := p.service(name)
	if of.made {
		return of.resource
	}
	t := p.traces
	attributes := []otlp.Pair{
		pair("service.name", name),
		pair("service.version", cmp.Or(of.version, p.onlyVersion())),
		pair("deployment.environment.name", cmp.Or(of.env, t.Env(), p.from.Env)),
		pair("host.name", cmp.Or(t.Hostname(), p.from.Host)),
		pair("service.instance.id", cmp.Or(p.runtime, t.RuntimeID())),
		pair("container.id", cmp.Or(t.ContainerID(), p.from.ContainerID)),
		pair("telemetry.sdk.name", "datadog"),
		pair("telemetry.sdk.language", sdkLanguage(cmp.Or(t.LanguageName(), p.from.Language, p.language))),
		pair("telemetry.distro.name", "dd-trace"),
		pair("telemetry.distro.version", cmp.Or(t.TracerVersion(), p.from.TracerVersion)),
		pair("process.runtime.version", cmp.Or(t.LanguageVersion(), p.from.LangVersion)),
	}
	if p.pid > 0 {
		attributes = append(attributes, otlp.Pair{Key: "process.pid", Value: otlp.Integer(p.pid)})
	}
	if p.from.StatsComputed {
		attributes = append(attributes, otlp.Pair{Key: "datadog.stats_computed", Value: otlp.Truth(true)})
	}
	of.resource, of.made = otlp.NewResource(p.declared(attributes)), true
	return of.resource
}

// onlyVersion is the version that the payload has, if no span says one itself.
func (p *process) onlyVersion() string {
	for _, s := range p.services {
		if s.version != "" {
			return ""
		}
	}
	return p.traces.AppVersion()
}

// declared adds what the payload says about all of its spans, above all tags of the container and the process.
func (p *process) declared(attributes []otlp.Pair) []otlp.Pair {
	var tags []string
	for ref, v := range p.traces.Attributes {
		switch key := p.traces.Strings.Get(ref); {
		case key == "_dd.tags.container", key == "_dd.tags.process":
			tags = append(tags, decode.SplitTags(v.AsString(p.traces.Strings))...)
		case key == "_dd.git.commit.sha":
			set(&attributes, "vcs.ref.head.revision", v.AsString(p.traces.Strings))
		case strings.HasPrefix(key, "_"):
			p.out.Left[InternalAttribute]++
		default:
			tags = append(tags, key+":"+v.AsString(p.traces.Strings))
		}
	}
	s, ok := p.sort(tags)
	if !ok {
		p.out.Left[TooMany]++
	}
	for _, t := range append(s.resource, s.record...) {
		set(&attributes, t.Key, t.Value.Text)
	}
	return attributes
}

func sdkLanguage(name string) string {
	switch name {
	case "javascript":
		return "nodejs"
	case ".NET":
		return "dotnet"
	case "jvm":
		return "java"
	}
	return name
}

// kind is the kind of a span, as OTLP numbers it.
func (p *process) kind(s *idx.InternalSpan) int {
	if k := int(s.Kind()); k > otlp.KindInternal && k <= otlp.KindConsumer {
		return k
	}
	if s.Kind() == idx.SpanKind_SPAN_KIND_INTERNAL {
		if _, said := s.Attributes()[s.Strings.Lookup("span.kind")]; !p.converted || said { // what converts says so of all that say nothing
			return otlp.KindInternal
		}
	}
	switch s.Type() {
	case "web":
		return otlp.KindServer
	case "http", "sql", "redis", "valkey", "memcached", "mongodb", "cache", "db", "cassandra", "elasticsearch", "opensearch", "dns":
		return otlp.KindClient
	case "queue":
		return queueKind(s.Name())
	}
	return otlp.KindInternal
}

// queueKind tells by its name what is done with a queue.
func queueKind(name string) int {
	for _, word := range [...]string{"produce", "publish", "send", "enqueue"} {
		if strings.Contains(name, word) {
			return otlp.KindProducer
		}
	}
	for _, word := range [...]string{"consume", "receive", "process", "deliver", "poll", "job"} {
		if strings.Contains(name, word) {
			return otlp.KindConsumer
		}
	}
	return otlp.KindInternal
}

// chunk is spans of one trace while they are mapped.
type chunk struct {
	*process
	*idx.InternalTraceChunk
	id    [16]byte
	state string
}

// noPriority is the priority of a chunk that says none.
const noPriority = math.MinInt8

// context is the trace state of a chunk: what a tracer sends on to others.
func (c *chunk) context() string {
	var parts []string
	if c.Priority != noPriority {
		parts = append(parts, "s:"+strconv.Itoa(int(c.Priority)))
	}
	if c.Origin() != "" {
		parts = append(parts, "o:"+stateValue(c.Origin()))
	}
	if m := c.SamplingMechanism(); m != 0 {
		parts = append(parts, "t.dm:-"+strconv.Itoa(int(m)))
	}
	if len(parts) == 0 {
		return ""
	}
	return "dd=" + strings.Join(parts, ";")
}

// stateValue makes text legal in the trace state.
func stateValue(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == ',' || r == ';' || r == '=' || r == '~' {
			return '_'
		}
		return r
	}, s)
}

// span maps a span.
func (c *chunk) span(s *idx.InternalSpan) error {
	if s.SpanID() == 0 || s.Start() == 0 || s.Start() > math.MaxInt64 {
		c.out.Dropped[BadSpan]++
		return nil
	}
	v := &c.view
	v.read(c.out, s, c.Keep)
	kind := c.kind(s)
	f := facts{process: c.process, view: v, InternalSpan: s, kind: kind, resource: s.Resource()}
	f.hide()
	end := s.Start()
	if d := s.Duration(); d <= math.MaxInt64 {
		end += d
	}
	e := &otlp.Span{Data: make([]byte, 0, 1024)}
	e.Begin(c.id, s.SpanID(), s.ParentID(), f.name(), kind, s.Start(), end)
	c.sampling(e, v)
	f.attributes(e)
	f.failure(e, end)
	f.links(e)
	f.events(e)
	return c.out.spans.Add(c.process.resource(c.owner(s)), c.scopeOf, e.Data, 1)
}

// sampling says what was decided about the trace.
func (c *chunk) sampling(e *otlp.Span, v *view) {
	if given := v.text(state); given != "" {
		e.State(given)
	} else if c.state != "" {
		e.State(c.state)
	}
	if c.Priority != noPriority {
		e.Attribute("sampling.priority", otlp.Integer(int64(c.Priority)))
		if c.Priority > 0 {
			e.Sampled()
		}
	}
	if c.Origin() != "" {
		e.Attribute("datadog.origin", otlp.String(c.Origin()))
	}
	if c.DroppedTrace {
		e.Attribute("datadog.dropped_trace", otlp.Truth(true))
	}
	for ref, value := range c.Attributes {
		if key := c.Strings.Get(ref); !strings.HasPrefix(key, "_") {
			e.Attribute(key, convert(c.Strings, value, maxNesting))
		}
	}
	for _, psr := range [...]struct {
		slot slot
		name string
	}{{psrRule, "datadog.sampling.rule_rate"}, {psrAgent, "datadog.sampling.agent_rate"}} {
		if v.values[psr.slot].Kind != 0 {
			e.Attribute(psr.name, v.values[psr.slot])
		}
	}
}

// parse takes the address of a request apart; ok is false for none.
func parse(address string) (*url.URL, bool) {
	if address == "" {
		return nil, false
	}
	u, err := url.Parse(address)
	return u, err == nil
}
