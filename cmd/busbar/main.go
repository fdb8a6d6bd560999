// SPDX-License-Identifier: Apache-2.0

// Command busbar runs all of Busbar in one process on an embedded bus, and has the tools to check what users declare, to
// read the bus, and to tell what the kernel of this machine allows.
package main

import (
	"context"
	"fmt"
	"io"

	"github.com/busbar/busbar/kit/run"
)

func main() { run.Main("busbar", program) }

// command is a subcommand.
type command struct {
	name, about string
	run         run.Func
}

func commands() []command {
	return []command{
		{"up", "runs everything in one process", up},
		{"check", "validates resources", check},
		{"dead", "lists, shows, sends back and deletes messages that could not be processed", dead},
		{"replay", "sends what passed before to one destination", replay},
		{"tap", "prints messages of the bus, one JSON object a line", tap},
		{"datadog", "tells what Datadog's clients send, and what becomes of it", datadog},
		{"doctor", "tells what this kernel and these privileges allow", doctor},
		{"version", "prints the version", printVersion},
	}
}

// program runs the subcommand that args name.
func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "", "help", "-h", "-help", "--help":
		if len(args) > 1 { // busbar help tap
			return program(ctx, []string{args[1], "--help"}, env, stdout, stderr)
		}
		return help(stdout)
	case "-version", "--version":
		name = "version"
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, args[1:], env, stdout, stderr)
		}
	}
	return run.UsageError("busbar", fmt.Errorf("unknown command %q", name))
}

func help(w io.Writer) error {
	fmt.Fprint(w, "busbar observes every service on this machine without touching its code.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  busbar %-8s %s\n", c.name, c.about)
	}
	_, err := fmt.Fprint(w, "\nbusbar COMMAND --help lists the flags of a command.\n")
	return err
}

func printVersion(_ context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
	if err := run.Parse(run.NewFlags("busbar version", "prints the version", "", stdout), args, env); err != nil {
		return err
	}
	_, err := fmt.Fprintln(stdout, run.Version())
	return err
}
