// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/otlp"
	"github.com/busbar/busbar/services/router/internal/pipeline"
)

// TooLarge is why a record is left out that does not fit into a message once a step has changed it.
const TooLarge = "too_large"

// MaxOutput bounds an encoded output, in bytes before compression: what the bus takes.
const MaxOutput = 512 << 10

// outcome is what one route makes of a message: the message as it came, or chunks, or neither.
type outcome struct {
	whole  bool
	chunks []otlp.Chunk
	tally  Tally
}

// ErrPanic is why a pipeline failed that panicked.
var ErrPanic = errors.New("panic")

// guarded keeps a record that some function of the language cannot bear from what other pipelines make of the message.
func (r *route) guarded(ctx context.Context, v *view) (out outcome, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("%w: %v\n%s", ErrPanic, cause, debug.Stack())
		}
	}()
	return r.run(ctx, v)
}

func (r *route) run(ctx context.Context, v *view) (out outcome, err error) {
	out.tally = Tally{Pipeline: r.name, In: v.message.Items, Out: v.message.Items, To: r.to}
	if r.pipeline == nil {
		v.taken = true
		out.whole = true
		return out, nil
	}
	taken := part{whole: true, Chunk: otlp.Chunk{Items: v.message.Items}}
	if r.pipeline.Matches() {
		if taken, err = v.match(ctx, r.pipeline, &out.tally.Effect); err != nil {
			return out, err
		}
	} else {
		v.taken = true
	}
	switch {
	case r.pipeline.Looks(v.message.Subject.Signal):
		err = r.steps(ctx, v, taken, &out)
	default:
		out.unchanged(taken)
	}
	return out, err
}

// unchanged hands on what a route takes as it came.
func (o *outcome) unchanged(taken part) {
	if o.whole = taken.whole; taken.whole {
		return
	}
	o.tally.In, o.tally.Out = taken.Items, taken.Items
	if taken.Items > 0 {
		o.chunks = []otlp.Chunk{taken.Chunk}
	}
}

// steps runs the steps of the pipeline on the part of the message that it takes.
func (r *route) steps(ctx context.Context, v *view, taken part, out *outcome) error {
	v.readers--
	if !taken.whole && taken.Items == 0 {
		out.tally.In, out.tally.Out = 0, 0
		return nil
	}
	about := pipeline.Message{OTLPParts: v.message.Subject, ID: v.message.ID, Again: v.message.Again}
	t := &out.tally
	left, from, done, effect := r.pipeline.Begin(ctx, about, v.encoded(taken))
	t.Effect.Add(effect)
	switch {
	case done && left.Changed:
		return out.encoded(v.message.Subject.Signal, left)
	case done:
		out.unchanged(taken)
		return nil
	}
	payload, err := v.payload(taken, left)
	if err != nil {
		return err
	}
	t.In = payload.Len() + total(effect.Dropped)
	effect, err = r.pipeline.Run(ctx, about, payload, from)
	t.Effect.Add(effect)
	if err != nil {
		return err
	}
	switch {
	case effect.Changed:
		return out.changed(payload)
	case left.Changed:
		return out.encoded(payload.Signal(), left)
	}
	t.Out = t.In
	out.unchanged(taken)
	return nil
}

// encoded hands on a payload that steps have changed without decoding it.
func (o *outcome) encoded(signal subject.Signal, left pipeline.Encoded) error {
	o.tally.In, o.tally.Out = left.Items+total(o.tally.Effect.Dropped), left.Items
	if left.Items == 0 {
		return nil
	}
	data, err := left.Data()
	if err != nil {
		return err
	}
	if len(data) <= MaxOutput {
		o.chunks = []otlp.Chunk{{Data: data, Items: left.Items}}
		return nil
	}
	payload, err := otlp.Decode(signal, data)
	if err != nil {
		return err
	}
	return o.changed(payload)
}

// changed encodes and hands on what steps have made.
func (o *outcome) changed(payload otlp.Payload) error {
	chunks, tooLarge, err := payload.EncodeWithin(MaxOutput)
	if err != nil {
		return err
	}
	o.tally.Effect.Drop(TooLarge, tooLarge)
	o.tally.Out = 0
	for _, c := range chunks {
		o.tally.Out += c.Items
	}
	o.chunks = chunks
	return nil
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// outputs appends what goes to a destination. A part tells of how many it is one: should a message come again to a plan that
// cuts it into fewer, none of them may be taken for a smaller one that is stored already.
func (r *route) outputs(to []Output, destination string, chunks []otlp.Chunk) []Output {
	for i, c := range chunks {
		part := destination + "/" + r.name + "/" + strconv.Itoa(i) + "-" + strconv.Itoa(len(chunks))
		to = append(to, Output{Destination: destination, Part: part, Data: c.Data, Items: c.Items})
	}
	return to
}

// view is a message with what has been found out about it so far, for all routes that ask.
type view struct {
	message Message
	readers int // routes that may still want a decoded payload, and change it

	data    []byte
	dataErr error
	loaded  bool

	resources *resources
	taken     bool // by a route as a whole
	decoded   otlp.Payload
	isDecoded bool
}

// part is what a route takes of a message: the whole, or a chunk with some of its resources.
type part struct {
	whole bool
	otlp.Chunk
}

// bytes returns the payload, decompressed.
func (v *view) bytes() ([]byte, error) {
	if !v.loaded {
		v.data, v.dataErr = v.message.Data()
		v.loaded = true
		if v.dataErr == nil && len(v.data) > maxInput {
			v.data, v.dataErr = nil, fmt.Errorf("payload of %d bytes exceeds the %d that a pipeline looks into", len(v.data), maxInput)
		}
	}
	return v.data, v.dataErr
}

// maxInput bounds what is decoded, in bytes. It is far beyond what a message should have, and bounds memory: decoded records
// take several times their size, and nested values a stack.
const maxInput = 4 * MaxOutput

// encoded is a part for whom a glance may do.
func (v *view) encoded(p part) pipeline.Encoded {
	e := pipeline.Encoded{Data: v.bytes, Items: p.Items}
	if !p.whole {
		e.Data = func() ([]byte, error) { return p.Data, nil }
	}
	return e
}

// payload decodes a part for a route that may change it, or what is left of it. The last one to ask gets the only copy there is.
func (v *view) payload(p part, left pipeline.Encoded) (otlp.Payload, error) {
	signal := v.message.Subject.Signal
	if left.Changed {
		data, err := left.Data()
		if err != nil {
			return otlp.Payload{}, err
		}
		return otlp.Decode(signal, data)
	}
	if !p.whole {
		return otlp.Decode(signal, p.Data)
	}
	if !v.isDecoded {
		data, err := v.bytes()
		if err != nil {
			return otlp.Payload{}, err
		}
		if v.decoded, err = otlp.Decode(signal, data); err != nil {
			return otlp.Payload{}, err
		}
		v.isDecoded = true
	}
	if v.readers > 0 {
		return v.decoded.Clone(), nil
	}
	return v.decoded, nil
}

// match cuts out what a pipeline takes.
func (v *view) match(ctx context.Context, p *pipeline.Pipeline, effect *pipeline.Effect) (part, error) {
	if v.resources == nil {
		data, err := v.bytes()
		if err != nil {
			return part{}, err
		}
		if v.resources, err = newResources(v.message.Subject.Signal, data); err != nil {
			return part{}, err
		}
	}
	takes, faults := p.Match(ctx, v.resources.heads)
	effect.Add(faults)
	taken, err := v.resources.take(takes)
	if taken.whole {
		v.taken = true
		taken.Items = v.message.Items
	}
	return taken, err
}

// untaken counts the records that no route took.
func (v *view) untaken() int {
	if v.taken || v.resources == nil {
		return 0
	}
	return v.resources.untaken()
}
