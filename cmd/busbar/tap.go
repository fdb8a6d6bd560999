// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
)

// line is what tap prints of a message.
type line struct {
	Subject string            `json:"subject"`
	Time    *time.Time        `json:"time,omitempty"` // when the stream stored it, if it did
	Headers map[string]string `json:"headers,omitempty"`
	Payload json.RawMessage   `json:"payload,omitempty"`
	Error   string            `json:"error,omitempty"` // why there is no payload
	Data    []byte            `json:"data,omitempty"`  // base64 of the bytes as they came, in place of the payload
}

// tap prints messages of the bus as they pass, or those that streams hold. What cannot be decoded is printed with the
// reason and never ends it.
func tap(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	var (
		at  run.BusFlags
		log run.LogFlags
	)
	fs := run.NewFlags("busbar tap", "prints messages of the bus, one JSON object a line", "SUBJECT", stdout)
	at.Register(fs)
	log.Register(fs)
	raw := fs.Bool("raw", false, "print payloads as they came, in base64, instead of decoding them")
	stored := fs.Bool("stored", false, "print what the stream of SUBJECT holds, oldest first, and end")
	count := fs.Int("count", 0, "end after `N` messages; 0: never")
	operands, err := run.ParseOperands(fs, args, env)
	if err != nil {
		return err
	}
	if len(operands) != 1 {
		return run.UsageError(fs.Name(), fmt.Errorf("want one SUBJECT, such as 'otlp.traces.>', got %d", len(operands)))
	}
	root := subject.Root(at.Root)
	filter, err := absolute(root, operands[0])
	if err != nil {
		return run.UsageError(fs.Name(), err)
	}
	logger := admin.Logger(stderr, log.Level, log.Format)
	b, err := bus.Connect(ctx, bus.Config{URL: at.URL, Creds: at.Creds, Name: "busbar-tap"}, logger)
	if err != nil {
		return err
	}
	defer b.Close()

	p := printer{encoder: json.NewEncoder(stdout), root: root, raw: *raw, left: *count}
	p.encoder.SetEscapeHTML(false)
	if *stored {
		stream, err := streamOf(root, filter)
		if err != nil {
			return run.UsageError(fs.Name(), err)
		}
		return ended(b.Replay(ctx, stream, filter, p.print))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err = b.Subscribe(ctx, filter, func(d *bus.Delivery) {
		if err := p.print(d); err != nil {
			stop(err)
		}
	})
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return ended(err)
}

// errEnough ends a tap that has printed as much as was asked for.
var errEnough = errors.New("enough")

func ended(err error) error {
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// absolute completes a subject that leaves out the root and checks that it is one.
func absolute(root subject.Root, s string) (string, error) {
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		if t == "" || strings.ContainsAny(t, " \t\r\n") || t == ">" && i < len(tokens)-1 {
			return "", fmt.Errorf("%q is not a subject", s)
		}
	}
	if tokens[0] == string(root) && len(tokens) > 1 {
		return s, nil
	}
	return string(root) + "." + s, nil
}

// streamOf names the stream that keeps the subjects of a filter.
func streamOf(root subject.Root, filter string) (string, error) {
	tokens := strings.Split(filter, ".")[1:]
	switch tokens[0] {
	case "raw":
		return root.RawStream().Name, nil
	case "otlp":
		return root.OTLPStream().Name, nil
	case "dead":
		return root.DeadStream().Name, nil
	case "out":
		if len(tokens) > 1 && !strings.ContainsAny(tokens[1], "*>") {
			return root.OutStream(tokens[1]).Name, nil
		}
		return "", fmt.Errorf("each destination has its own stream: name one, as in %s.out.DESTINATION.>", root)
	}
	return "", fmt.Errorf("no stream keeps %s: name raw, otlp, out or dead", filter)
}

// printer writes messages. Its print is called by one goroutine at a time.
type printer struct {
	encoder *json.Encoder
	root    subject.Root
	raw     bool
	left    int // messages still to print, when it began above 0
}

func (p *printer) print(d *bus.Delivery) error {
	if err := p.encoder.Encode(p.line(d)); err != nil {
		return fmt.Errorf("print message: %w", err)
	}
	if p.left--; p.left == 0 {
		return errEnough
	}
	return nil
}

func (p *printer) line(d *bus.Delivery) line {
	l := line{Subject: d.Subject, Headers: d.Headers()}
	for _, h := range []string{bus.HeaderID, bus.HeaderEncoding} {
		if v := d.Header(h); v != "" {
			l.Headers[h] = v
		}
	}
	if !d.Time.IsZero() {
		t := d.Time.UTC()
		l.Time = &t
	}
	if p.raw {
		l.Data = d.Raw()
		return l
	}
	data, err := d.Data()
	if err == nil {
		l.Payload, err = decode(schemaOf(p.root, d), data)
	}
	if err != nil {
		l.Error, l.Data = err.Error(), d.Raw()
	}
	return l
}
