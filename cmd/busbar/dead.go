// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
)

// deadCommands are what can be done about dead letters.
func deadCommands() []command {
	return []command{
		{"list", "lists dead letters, oldest first", deadList},
		{"show", "prints dead letters with their payloads", deadShow},
		{"redrive", "sends dead letters back to where they failed", deadRedrive},
		{"purge", "deletes dead letters", deadPurge},
	}
}

// dead runs the subcommand of `busbar dead` that args name.
func dead(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "", "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, "busbar dead is about messages that can never be processed: what they were, and why.\n\n")
		for _, c := range deadCommands() {
			fmt.Fprintf(stdout, "  busbar dead %-8s %s\n", c.name, c.about)
		}
		_, err := fmt.Fprint(stdout, "\nbusbar dead COMMAND --help lists the flags of a command.\n")
		return err
	}
	for _, c := range deadCommands() {
		if c.name == name {
			return c.run(ctx, args[1:], env, stdout, stderr)
		}
	}
	return run.UsageError("busbar dead", fmt.Errorf("unknown command %q", name))
}

// letter is a dead letter: what its headers tell.
type letter struct {
	Sequence    uint64    `json:"seq"`
	Time        time.Time `json:"time"` // when it was given up
	Service     string    `json:"service"`
	Reason      string    `json:"reason"`
	Error       string    `json:"error"`
	Stream      string    `json:"stream"` // where it was read from
	At          uint64    `json:"streamSeq"`
	Subject     string    `json:"subject"`
	Destination string    `json:"destination,omitempty"`
	Part        string    `json:"part,omitempty"` // what could not be done, if the rest was
	Stored      string    `json:"stored,omitempty"`
	Attempts    int       `json:"attempts,omitempty"`
	Items       int       `json:"records"`
	Bytes       int       `json:"bytes"`
	Cut         bool      `json:"cut,omitempty"` // not all of its payload is kept
}

// readLetter reads the headers of a dead letter. Anybody may write to the stream, so any of them may be missing.
func readLetter(root subject.Root, d *bus.Delivery) letter {
	l := letter{
		Sequence: d.Sequence, Time: d.Time.UTC(), Service: d.Header(bus.HeaderDeadStage), Reason: d.Header(bus.HeaderDeadReason),
		Error: d.Header(bus.HeaderDeadError), Part: d.Header(bus.HeaderDeadPart), Stored: d.Header(bus.HeaderDeadStored),
		Items: d.Items(), Bytes: len(d.Raw()),
	}
	l.Attempts, _ = strconv.Atoi(d.Header(bus.HeaderDeadAttempts))
	if size, err := strconv.Atoi(d.Header(bus.HeaderDeadTruncated)); err == nil {
		l.Cut = size > l.Bytes
	}
	if parts := strings.SplitN(d.Header(bus.HeaderDeadOrigin), ":", 3); len(parts) == 3 {
		l.Stream, l.Subject = parts[0], parts[2]
		l.At, _ = strconv.ParseUint(parts[1], 10, 64)
	}
	if out, ok := root.ParseOut(l.Subject); ok {
		l.Destination = out.Destination
	}
	return l
}

// deadFlags are what every command about dead letters has: how to reach the bus, and which letters it is about.
type deadFlags struct {
	at                           run.BusFlags
	log                          run.LogFlags
	reason, service, destination string
	since                        time.Duration

	sequences []uint64
}

func (f *deadFlags) register(fs *flag.FlagSet, choose bool) {
	f.at.Register(fs)
	f.log.Register(fs)
	if choose {
		fs.StringVar(&f.reason, "reason", "", "only those given up for this `REASON`")
		fs.StringVar(&f.service, "service", "", "only those that this `SERVICE` gave up: enricher, router, exporter")
		fs.StringVar(&f.destination, "destination", "", "only those that were for the destination `NAME`")
		fs.DurationVar(&f.since, "since", 0, "only those given up within this `DURATION`, such as 24h; 0: all")
	}
}

// operands reads the sequence numbers that a command is about.
func (f *deadFlags) operands(fs *flag.FlagSet, texts []string) error {
	for _, text := range texts {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			return run.UsageError(fs.Name(), fmt.Errorf("%q is no SEQ: want a number that `busbar dead list` shows", text))
		}
		f.sequences = append(f.sequences, n)
	}
	return nil
}

// oneOrAll checks that a command that changes something is told what, and not by accident.
func (f *deadFlags) oneOrAll(fs *flag.FlagSet, all bool) error {
	chosen := f.reason != "" || f.service != "" || f.destination != "" || f.since != 0
	switch {
	case len(f.sequences) == 0 && !all:
		return run.UsageError(fs.Name(), errors.New("want SEQ..., or --all"))
	case len(f.sequences) > 0 && (all || chosen):
		return run.UsageError(fs.Name(), errors.New("want either SEQ... or --all with what narrows it down, not both"))
	}
	return nil
}

// takes tells whether a letter is one of those that the flags are about.
func (f *deadFlags) takes(l letter) bool {
	return (f.reason == "" || l.Reason == f.reason) && (f.service == "" || l.Service == f.service) &&
		(f.destination == "" || l.Destination == f.destination) && (f.since == 0 || time.Since(l.Time) <= f.since) &&
		(len(f.sequences) == 0 || slices.Contains(f.sequences, l.Sequence))
}

// desk is where dead letters are worked on.
type desk struct {
	*deadFlags
	bus    *bus.Bus
	root   subject.Root
	stream string
}

func (f *deadFlags) open(ctx context.Context, stderr io.Writer) (*desk, error) {
	b, err := bus.Connect(ctx, bus.Config{URL: f.at.URL, Creds: f.at.Creds, Wait: f.at.Wait, Name: "busbar-dead"}, admin.Logger(stderr, f.log.Level, f.log.Format))
	if err != nil {
		return nil, err
	}
	root := subject.Root(f.at.Root)
	return &desk{deadFlags: f, bus: b, root: root, stream: root.DeadStream().Name}, nil
}

// each calls fn with the letters that the flags are about. Without a stream there are none. That one which was named is not
// there is an error, after the others have had their turn.
func (k *desk) each(ctx context.Context, fn func(letter, *bus.Delivery) error) error {
	if len(k.sequences) > 0 {
		var missing []error
		for _, n := range k.sequences {
			d, err := k.bus.Stored(ctx, k.stream, n)
			if errors.Is(err, bus.ErrNotFound) {
				missing = append(missing, fmt.Errorf("no dead letter has number %d", n))
				continue
			}
			if err == nil {
				err = fn(readLetter(k.root, d), d)
			}
			if err != nil {
				return err
			}
		}
		return errors.Join(missing...)
	}
	err := k.bus.Replay(ctx, k.stream, "", func(d *bus.Delivery) error {
		if l := readLetter(k.root, d); k.takes(l) {
			return fn(l, d)
		}
		return nil
	})
	if errors.Is(err, bus.ErrNotFound) {
		return nil
	}
	return err
}
