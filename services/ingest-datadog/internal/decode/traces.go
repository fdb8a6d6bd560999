// SPDX-License-Identifier: Apache-2.0

// Package decode reads what Datadog's clients send, with Datadog's own decoders where there are any, and makes few shapes of the many
// formats: payloads of traces, series, sketches, statistics, logs, events, checks. It knows no OpenTelemetry.
//
// Bodies are hostile until read: lengths are checked against the bytes that are there before anything is allocated, nesting is bounded,
// and what panics inside a decoder is an error of the body. Fields that are not known are skipped.
package decode

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace"
	"github.com/DataDog/datadog-agent/pkg/proto/pbgo/trace/idx"
	"google.golang.org/protobuf/proto"
)

// Traces are traces of one process.
type Traces struct {
	*idx.InternalTracerPayload
	// Converted says that the format has no span kinds of its own: INTERNAL may mean that nothing was said.
	Converted bool
}

// Agent is what an Agent forwards: traces of several processes.
type Agent struct {
	Host, Env, Version string
	Payloads           []Traces
}

// TraceID is the id of the trace that a chunk is of; one that is too short is its lower end.
func TraceID(c *idx.InternalTraceChunk) (id [16]byte) {
	given := c.TraceID[max(0, len(c.TraceID)-len(id)):]
	copy(id[len(id)-len(given):], given)
	return id
}

// guard makes an error of a panic: decoders index what a body says.
func guard(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("decoder cannot cope: %v", v)
	}
}

// V04 reads /v0.3 and /v0.4: an array of chunks, which are arrays of spans.
func V04(body []byte) (t Traces, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return Traces{}, err
	}
	p := new(idx.InternalTracerPayload)
	_, err = p.UnmarshalMsgConverted(body)
	return Traces{p, true}, err
}

// V05 reads /v0.5: a table of strings, and spans that refer to it.
func V05(body []byte) (t Traces, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return Traces{}, err
	}
	p := &idx.InternalTracerPayload{Strings: idx.NewStringTable()}
	return Traces{p, true}, p.UnmarshalMsgDictionary(body)
}

// V1 reads /v1.0.
func V1(body []byte) (t Traces, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return Traces{}, err
	}
	p := &idx.InternalTracerPayload{Strings: idx.NewStringTable()}
	_, err = p.UnmarshalMsg(body)
	return Traces{p, false}, err
}

// V07 reads /v0.7: a payload of chunks with what their spans share.
func V07(body []byte) (t Traces, err error) {
	defer guard(&err)
	if err := sound(body); err != nil {
		return Traces{}, err
	}
	var p trace.TracerPayload
	if _, err := p.UnmarshalMsg(body); err != nil {
		return Traces{}, err
	}
	return convert(&p)
}

// JSON reads /v0.1/spans, a list of spans, and what else is JSON: a list of lists.
func JSON(body []byte) (t Traces, err error) {
	defer guard(&err)
	var chunks []trace.Trace
	var spans []*trace.Span
	if json.Unmarshal(body, &spans) == nil {
		chunks = byTrace(spans)
	} else if err := json.Unmarshal(body, &chunks); err != nil {
		return Traces{}, err
	}
	p := trace.TracerPayload{}
	for _, c := range chunks {
		p.Chunks = append(p.Chunks, &trace.TraceChunk{Priority: noPriority, Spans: c})
	}
	return convert(&p)
}

// noPriority is the priority of a chunk that says none.
const noPriority = -128

func byTrace(spans []*trace.Span) (chunks []trace.Trace) {
	at := map[uint64]int{}
	for _, s := range spans {
		if s == nil {
			continue
		}
		i, ok := at[s.TraceID]
		if !ok {
			i = len(chunks)
			at[s.TraceID], chunks = i, append(chunks, nil)
		}
		chunks[i] = append(chunks[i], s)
	}
	return chunks
}

// AgentTraces reads /api/v0.2/traces: since version 7.84 of the Agent in one field, before that in another.
func AgentTraces(body []byte) (a Agent, err error) {
	defer guard(&err)
	var p trace.AgentPayload
	if err := proto.Unmarshal(body, &p); err != nil {
		return Agent{}, err
	}
	a = Agent{Host: p.HostName, Env: p.Env, Version: p.AgentVersion}
	for _, t := range p.IdxTracerPayloads {
		if err := inTable(t); err != nil {
			return Agent{}, err
		}
		a.Payloads = append(a.Payloads, Traces{idx.FromProto(t), true})
	}
	for _, t := range p.TracerPayloads {
		converted, err := convert(t)
		if err != nil {
			return Agent{}, err
		}
		a.Payloads = append(a.Payloads, converted)
	}
	return a, nil
}

// inTable checks what the mapping relies on: the first string is the empty one.
func inTable(t *idx.TracerPayload) error {
	if len(t.Strings) == 0 {
		t.Strings = []string{""}
	}
	if t.Strings[0] != "" {
		return errors.New("string table does not begin with the empty string")
	}
	return nil
}

// convert makes the newest format of an older one, by way of the format in between, for which there is a decoder: rules of
// promotion then exist once.
func convert(p *trace.TracerPayload) (Traces, error) {
	all := make(trace.Traces, len(p.Chunks))
	for i, c := range p.Chunks {
		if c != nil {
			all[i] = c.Spans
		}
	}
	between, err := all.MarshalMsg(nil)
	if err != nil {
		return Traces{}, err
	}
	t, err := V04(between)
	if err != nil {
		return Traces{}, err
	}
	set := func(to func(string), value string) {
		if value != "" {
			to(value)
		}
	}
	set(t.SetContainerID, p.ContainerID)
	set(t.SetLanguageName, p.LanguageName)
	set(t.SetLanguageVersion, p.LanguageVersion)
	set(t.SetTracerVersion, p.TracerVersion)
	set(t.SetRuntimeID, p.RuntimeID)
	set(t.SetEnv, p.Env)
	set(t.SetHostname, p.Hostname)
	set(t.SetAppVersion, p.AppVersion)
	for k, v := range p.Tags {
		t.SetStringAttribute(k, v)
	}
	for i, c := range p.Chunks {
		if c == nil {
			continue
		}
		to := t.Chunks[i]
		set(to.SetOrigin, c.Origin)
		if c.Priority != noPriority {
			to.Priority = c.Priority
		}
		to.DroppedTrace = c.DroppedTrace
		for k, v := range c.Tags {
			to.SetStringAttribute(k, v)
		}
	}
	return t, nil
}
