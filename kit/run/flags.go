// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// envPrefix begins the environment name of every flag: --nats-url is BUSBAR_NATS_URL.
const envPrefix = "BUSBAR_"

// version is a flag of every program but a setting of none, so the environment does not have it.
const versionFlag = "version"

// NewFlags returns the flag set of one program or subcommand: name is how a user calls it, about what it does in a line,
// operands how the usage line shows what follows the flags ("" when nothing may). Help is written to stdout.
func NewFlags(name, about, operands string, stdout io.Writer) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(stdout)
	fs.Usage = func() {
		w := fs.Output()
		fmt.Fprintf(w, "%s: %s\n\nusage: %s", name, about, strings.TrimSpace(name+" [flags] "+operands))
		fmt.Fprintf(w, "\n\nflags, each with the environment variable that stands in for it:\n")
		fs.VisitAll(func(f *flag.Flag) { printFlag(w, f) })
	}
	return fs
}

func printFlag(w io.Writer, f *flag.Flag) {
	value, usage := flag.UnquoteUsage(f)
	fmt.Fprintf(w, "  --%s", f.Name)
	if value != "" {
		fmt.Fprintf(w, " %s", value)
	}
	if f.Name != versionFlag {
		fmt.Fprintf(w, "  (%s)", EnvName(f.Name))
	}
	fmt.Fprintf(w, "\n        %s", usage)
	if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "0s" {
		fmt.Fprintf(w, " (default %s)", f.DefValue)
	}
	fmt.Fprintln(w)
}

// EnvName returns the name of the environment variable that stands in for a flag.
func EnvName(flagName string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

// Parse sets the flags of fs from args, and those that args do not name from the environment. Nothing may follow the
// flags. After printing the help or the version it returns flag.ErrHelp; its other errors make Main exit with 2.
func Parse(fs *flag.FlagSet, args []string, env func(string) string) error {
	operands, err := ParseOperands(fs, args, env)
	if err == nil && len(operands) > 0 {
		return &usageError{fs.Name(), fmt.Errorf("unexpected argument %q", operands[0])}
	}
	return err
}

// ParseOperands is Parse for a command that takes operands. Flags may stand before, between and after them, until "--".
func ParseOperands(fs *flag.FlagSet, args []string, env func(string) string) ([]string, error) {
	out, usage := fs.Output(), fs.Usage
	fs.SetOutput(io.Discard) // the package prints an error and the whole usage; one line of error is enough
	fs.Usage = func() {}
	defer func() { fs.SetOutput(out); fs.Usage = usage }()

	var operands []string
	for rest := args; len(rest) > 0; {
		err := fs.Parse(rest)
		if errors.Is(err, flag.ErrHelp) {
			fs.SetOutput(out)
			usage()
			return nil, flag.ErrHelp
		}
		if err != nil {
			return nil, &usageError{fs.Name(), err}
		}
		left := fs.Args()
		if n := len(rest) - len(left); len(left) == 0 || n > 0 && rest[n-1] == "--" {
			operands = append(operands, left...)
			break
		}
		operands, rest = append(operands, left[0]), left[1:]
	}
	if f := fs.Lookup(versionFlag); f != nil && f.Value.String() == "true" {
		fmt.Fprintln(out, Version())
		return nil, flag.ErrHelp
	}
	if err := parseEnv(fs, env); err != nil {
		return nil, &usageError{fs.Name(), err}
	}
	return operands, nil
}

// parseEnv sets the flags that the command line left alone. An empty variable counts as unset.
func parseEnv(fs *flag.FlagSet, env func(string) string) error {
	given := map[string]bool{versionFlag: true}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	var errs []error
	fs.VisitAll(func(f *flag.Flag) {
		value := env(EnvName(f.Name))
		if given[f.Name] || value == "" {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			errs = append(errs, fmt.Errorf("invalid value %q for %s: %w", value, EnvName(f.Name), err))
		}
	})
	return errors.Join(errs...)
}

// UsageError returns err as one about the command line or the environment of a program: it points at the help, and Main
// exits with 2 for it.
func UsageError(program string, err error) error { return &usageError{program, err} }

type usageError struct {
	program string
	err     error
}

func (e *usageError) Error() string { return fmt.Sprintf("%v (see %s --help)", e.err, e.program) }

func (e *usageError) Unwrap() error { return e.err }

// ExitStatus tells mistakes of the caller from failures of the program, as shells do.
func (e *usageError) ExitStatus() int { return 2 }

// List is a flag that may be repeated, or hold several values parted by commas.
type List []string

// String shows the values as Set takes them.
func (l *List) String() string { return strings.Join(*l, ",") }

// Set adds values.
func (l *List) Set(s string) error {
	for v := range strings.SplitSeq(s, ",") {
		if v = strings.TrimSpace(v); v != "" && !slices.Contains(*l, v) {
			*l = append(*l, v)
		}
	}
	return nil
}

// choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

// Choice adds a flag that takes one of words; the first is the default.
func Choice(fs *flag.FlagSet, p *string, name, usage string, words ...string) {
	*p = words[0]
	fs.Var(choice{p, words}, name, usage+": `"+strings.Join(words, "|")+"`")
}

func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return fmt.Errorf("want one of %s", strings.Join(c.words, ", "))
	}
	*c.value = s
	return nil
}
