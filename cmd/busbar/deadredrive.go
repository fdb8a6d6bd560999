// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
)

// redriveTimeout is how long one dead letter may take to be stored where it came from.
const redriveTimeout = 15 * time.Second

// deadRedrive sends dead letters back to the hop that gave up on them.
func deadRedrive(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	var f deadFlags
	fs := run.NewFlags("busbar dead redrive", "sends dead letters back to where they failed", "SEQ...|--all", stdout)
	f.register(fs, true)
	all := fs.Bool("all", false, "all of them, or all that --reason, --service, --destination and --since leave")
	operands, err := run.ParseOperands(fs, args, env)
	if err != nil {
		return err
	}
	if err := f.operands(fs, operands); err != nil {
		return err
	}
	if err := f.oneOrAll(fs, *all); err != nil {
		return err
	}
	desk, err := f.open(ctx, stderr)
	if err != nil {
		return err
	}
	defer desk.bus.Close()
	sent, left := 0, 0
	err = desk.each(ctx, func(l letter, d *bus.Delivery) error {
		if why := l.stuck(); why != "" {
			left++
			_, err := fmt.Fprintf(stdout, "%d stays: %s\n", l.Sequence, why)
			return err
		}
		if err := desk.redrive(ctx, l, d); err != nil {
			return fmt.Errorf("redrive %d: %w", l.Sequence, err)
		}
		sent++
		return nil
	})
	_, told := fmt.Fprintf(stdout, "%d sent back, %d stay\n", sent, left)
	return errors.Join(err, told)
}

// stuck says why a letter cannot be sent back, or "".
func (l letter) stuck() string {
	switch {
	case l.Subject == "":
		return "its headers do not say where it came from"
	case l.Cut:
		return "its payload was cut to fit, so it is not what it was"
	}
	return ""
}

// redrive publishes a letter where its message was read from and then deletes it. Its new id comes of the letter, so a letter
// that could not be deleted does no harm when it is sent again soon; nor is it taken for the message that failed.
func (k *desk) redrive(ctx context.Context, l letter, d *bus.Delivery) error {
	header := d.Headers()
	for name := range header {
		if strings.HasPrefix(name, bus.HeaderDeadPrefix) {
			delete(header, name)
		}
	}
	if l.Part != "" {
		header[bus.HeaderPart] = l.Part
	}
	once, cancel := context.WithTimeout(ctx, redriveTimeout)
	defer cancel()
	err := k.bus.Publish(once, bus.Msg{Subject: l.Subject, ID: d.DerivedID("redrive"), Header: header, Data: d.Raw(), Encoding: d.Encoding()})
	if errors.Is(err, bus.ErrNoStream) && l.Destination != "" {
		return fmt.Errorf("destination %s has no stream any more, declare it again or purge the letter: %w", l.Destination, err)
	}
	if err != nil {
		return err
	}
	return k.bus.Delete(ctx, k.stream, l.Sequence)
}

// deadPurge deletes dead letters.
func deadPurge(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	return purge(ctx, args, env, os.Stdin, stdout, stderr)
}

func purge(ctx context.Context, args []string, env func(string) string, stdin io.Reader, stdout, stderr io.Writer) error {
	var f deadFlags
	fs := run.NewFlags("busbar dead purge", "deletes dead letters", "SEQ...|--all", stdout)
	f.register(fs, true)
	all := fs.Bool("all", false, "all of them, or all that --reason, --service, --destination and --since leave")
	yes := fs.Bool("yes", false, "do not ask")
	operands, err := run.ParseOperands(fs, args, env)
	if err != nil {
		return err
	}
	if err := f.operands(fs, operands); err != nil {
		return err
	}
	if err := f.oneOrAll(fs, *all); err != nil {
		return err
	}
	desk, err := f.open(ctx, stderr)
	if err != nil {
		return err
	}
	defer desk.bus.Close()
	var doomed []uint64 // those that come while we ask are not meant
	err = desk.each(ctx, func(l letter, _ *bus.Delivery) error {
		doomed = append(doomed, l.Sequence)
		return nil
	})
	if err != nil {
		return err
	}
	if len(doomed) == 0 {
		_, err := fmt.Fprintln(stdout, "no dead letters")
		return err
	}
	if !*yes && !confirmed(stdin, stdout, fmt.Sprintf("delete %d dead letters for good?", len(doomed))) {
		return errors.New("nothing was deleted: say yes, or --yes")
	}
	for _, n := range doomed {
		if err := desk.bus.Delete(ctx, desk.stream, n); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(stdout, "%d deleted\n", len(doomed))
	return err
}

// confirmed asks a question and tells whether the answer was yes.
func confirmed(stdin io.Reader, stdout io.Writer, question string) bool {
	fmt.Fprintf(stdout, "%s [y/N] ", question)
	answer, _ := bufio.NewReader(stdin).ReadString('\n') // an end of input is no
	answer = strings.ToLower(strings.TrimSpace(answer))
	if answer == "" {
		fmt.Fprintln(stdout)
	}
	return answer == "y" || answer == "yes"
}
