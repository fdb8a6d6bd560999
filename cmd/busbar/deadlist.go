// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
)

// deadList prints a line for each dead letter.
func deadList(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	var f deadFlags
	fs := run.NewFlags("busbar dead list", "lists dead letters, oldest first", "", stdout)
	f.register(fs, true)
	limit := fs.Int("limit", 100, "list the newest `N`; 0: all")
	asJSON := fs.Bool("json", false, "print one JSON object a line")
	if err := run.Parse(fs, args, env); err != nil {
		return err
	}
	desk, err := f.open(ctx, stderr)
	if err != nil {
		return err
	}
	defer desk.bus.Close()
	var letters []letter
	total := 0
	err = desk.each(ctx, func(l letter, _ *bus.Delivery) error {
		total++
		if letters = append(letters, l); *limit > 0 && len(letters) > *limit {
			letters = letters[1:]
		}
		return nil
	})
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(stdout)
		encoder.SetEscapeHTML(false)
		for _, l := range letters {
			if err := encoder.Encode(l); err != nil {
				return err
			}
		}
		return nil
	}
	return table(stdout, letters, total)
}

// table prints letters for people, of a total that may be larger.
func table(w io.Writer, letters []letter, total int) error {
	if total == 0 {
		_, err := fmt.Fprintln(w, "no dead letters")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEQ\tTIME\tSERVICE\tREASON\tRECORDS\tATTEMPTS\tFROM\tERROR")
	for _, l := range letters {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", l.Sequence, l.Time.Format(time.RFC3339), or(l.Service), or(l.Reason), l.Items, l.Attempts, or(l.Subject), or(l.Error))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(letters) < total {
		_, err := fmt.Fprintf(w, "the newest %d of %d; --limit 0 lists all\n", len(letters), total)
		return err
	}
	return nil
}

// or keeps a column from being empty.
func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// deadShow prints dead letters as `busbar tap` prints messages.
func deadShow(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	var f deadFlags
	fs := run.NewFlags("busbar dead show", "prints dead letters with their payloads, one JSON object a line", "SEQ...", stdout)
	f.register(fs, false)
	raw := fs.Bool("raw", false, "print payloads as they came, in base64, instead of decoding them")
	operands, err := run.ParseOperands(fs, args, env)
	if err != nil {
		return err
	}
	if len(operands) == 0 {
		return run.UsageError(fs.Name(), errors.New("want SEQ..., numbers that `busbar dead list` shows"))
	}
	if err := f.operands(fs, operands); err != nil {
		return err
	}
	desk, err := f.open(ctx, stderr)
	if err != nil {
		return err
	}
	defer desk.bus.Close()
	p := printer{encoder: json.NewEncoder(stdout), root: desk.root, raw: *raw}
	p.encoder.SetEscapeHTML(false)
	return desk.each(ctx, func(_ letter, d *bus.Delivery) error { return p.print(d) })
}
