// SPDX-License-Identifier: Apache-2.0

package run_test

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/busbar/busbar/kit/run"
)

// environ makes the environment of a test.
func environ(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

func TestParseTakesFlagsThenEnvironmentThenDefaults(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want run.ServiceFlags
	}{
		{"defaults", nil, nil, run.ServiceFlags{
			Bus: run.BusFlags{URL: "nats://127.0.0.1:4222", Root: "busbar", Replicas: 1}, Log: run.LogFlags{Format: "text"}, Admin: ":9600",
		}},
		{
			"environment", nil,
			map[string]string{
				"BUSBAR_NATS_URL": "nats://bus:1", "BUSBAR_CONFIG": "a.yaml, b", "BUSBAR_LOG_LEVEL": "warn", "BUSBAR_ADMIN": "",
				"BUSBAR_VERSION": "v9 (not a setting)",
			},
			run.ServiceFlags{
				Bus: run.BusFlags{URL: "nats://bus:1", Root: "busbar", Replicas: 1}, Log: run.LogFlags{Format: "text", Level: slog.LevelWarn},
				Config: run.List{"a.yaml", "b"}, Admin: ":9600",
			},
		},
		{
			"flags win", []string{"--nats-url=nats://flag:1", "--config", "a", "-config=b", "--log-format", "json"},
			map[string]string{"BUSBAR_NATS_URL": "nats://env:1", "BUSBAR_CONFIG": "z", "BUSBAR_SUBJECT_ROOT": "lab"},
			run.ServiceFlags{
				Bus: run.BusFlags{URL: "nats://flag:1", Root: "lab", Replicas: 1}, Log: run.LogFlags{Format: "json"},
				Config: run.List{"a", "b"}, Admin: ":9600",
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got run.ServiceFlags
			fs := run.NewFlags("busbar-thing", "does a thing", "", io.Discard)
			got.Register(fs)
			if err := run.Parse(fs, tc.args, environ(tc.env)); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("flags (-want +got):\n%s", d)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want string
	}{
		{"unknown flag", []string{"--nope"}, nil, "flag provided but not defined: -nope (see busbar-thing --help)"},
		{"operand", []string{"--admin", ":1", "x"}, nil, `unexpected argument "x" (see busbar-thing --help)`},
		{"word", []string{"--log-format=xml"}, nil, `invalid value "xml" for flag -log-format: want one of text, json (see busbar-thing --help)`},
		{
			"environment", nil, map[string]string{"BUSBAR_SUBJECT_ROOT": "a.b", "BUSBAR_LOG_FORMAT": "xml"},
			"invalid value \"xml\" for BUSBAR_LOG_FORMAT: want one of text, json\n" +
				`invalid value "a.b" for BUSBAR_SUBJECT_ROOT: want one token of letters, digits, '-' and '_' (see busbar-thing --help)`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			fs := run.NewFlags("busbar-thing", "does a thing", "", io.Discard)
			new(run.ServiceFlags).Register(fs)
			err := run.Parse(fs, tc.args, environ(tc.env))
			if err == nil || err.Error() != tc.want {
				t.Errorf("error\n got %v\nwant %s", err, tc.want)
			}
			if got := run.Status("busbar-thing", err, io.Discard, false); got != 2 {
				t.Errorf("exit status %d, want 2", got)
			}
		})
	}
}

func TestParseOperandsTakesFlagsAnywhere(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args []string
		raw  bool
		want []string
	}{
		{[]string{"a", "--raw", "b"}, true, []string{"a", "b"}},
		{[]string{"a", "--", "--raw"}, false, []string{"a", "--raw"}},
		{[]string{"--raw", "--", "b"}, true, []string{"b"}},
		{nil, false, nil},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			t.Parallel()
			fs := run.NewFlags("tap", "prints", "SUBJECT", io.Discard)
			raw := fs.Bool("raw", false, "as it came")
			got, err := run.ParseOperands(fs, tc.args, environ(nil))
			if err != nil || *raw != tc.raw {
				t.Fatalf("raw %v, error %v", *raw, err)
			}
			if d := cmp.Diff(tc.want, got); d != "" {
				t.Errorf("operands (-want +got):\n%s", d)
			}
		})
	}
}

func TestHelpShowsFlagsWithTheirEnvironment(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	fs := run.NewFlags("busbar-thing", "does a thing", "", &out)
	new(run.ServiceFlags).Register(fs)
	if err := run.Parse(fs, []string{"--help"}, environ(nil)); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error %v, want flag.ErrHelp", err)
	}
	for _, want := range []string{
		"busbar-thing: does a thing\n",
		"  --nats-url URL  (BUSBAR_NATS_URL)\n        URL of the NATS server, or several parted by commas (default nats://127.0.0.1:4222)\n",
		"  --log-level LEVEL  (BUSBAR_LOG_LEVEL)\n",
		"(default INFO)",
		"  --log-format text|json  (BUSBAR_LOG_FORMAT)\n",
		"  --version\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, out.String())
		}
	}
}

func TestVersionIsPrinted(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	fs := run.NewFlags("busbar-thing", "does a thing", "", &out)
	run.RegisterVersion(fs)
	if err := run.Parse(fs, []string{"--version"}, environ(nil)); !errors.Is(err, flag.ErrHelp) {
		t.Fatalf("error %v, want flag.ErrHelp", err)
	}
	if got := strings.TrimSpace(out.String()); got == "" || got != run.Version() {
		t.Errorf("printed %q", got)
	}
}

// Every flag needs an environment name that a shell accepts.
func TestEnvName(t *testing.T) {
	t.Parallel()
	fs := run.NewFlags("x", "", "", io.Discard)
	new(run.ServiceFlags).Register(fs)
	fs.VisitAll(func(f *flag.Flag) {
		if name := run.EnvName(f.Name); strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") != "" {
			t.Errorf("--%s has the environment name %q", f.Name, name)
		}
	})
}
