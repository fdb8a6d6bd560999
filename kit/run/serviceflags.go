// SPDX-License-Identifier: Apache-2.0

package run

import (
	"errors"
	"flag"
	"log/slog"
	"strings"
	"time"
)

// BusFlags say where the bus is and which part of it is ours.
type BusFlags struct {
	URL   string        // --nats-url
	Creds string        // --nats-creds, a path; empty for none
	Wait  time.Duration // --nats-wait: how long the server may take to come up
	Root  string        // --subject-root, one subject token
	// Replicas of every stream, --stream-replicas.
	Replicas int
}

// Register adds the flags to fs.
func (f *BusFlags) Register(fs *flag.FlagSet) {
	fs.StringVar(&f.URL, "nats-url", "nats://127.0.0.1:4222", "`URL` of the NATS server, or several parted by commas")
	fs.StringVar(&f.Creds, "nats-creds", "", "`FILE` with the NATS user's credentials")
	fs.DurationVar(&f.Wait, "nats-wait", 0, "`DURATION` for which the NATS server may be unreachable at the start; zero fails at once")
	fs.IntVar(&f.Replicas, "stream-replicas", 1, "`NUMBER` of copies, at least, that a cluster of NATS servers keeps of each stream: 1, 3 or 5")
	f.RegisterRoot(fs)
}

// RegisterRoot adds --subject-root alone, for a program that brings its own bus.
func (f *BusFlags) RegisterRoot(fs *flag.FlagSet) {
	f.Root = "busbar"
	fs.Var((*root)(&f.Root), "subject-root", "first `TOKEN` of every subject")
}

// root is a flag that holds one subject token.
type root string

func (r *root) String() string { return string(*r) }

func (r *root) Set(s string) error {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
		return errors.New("want one token of letters, digits, '-' and '_'")
	}
	*r = root(s)
	return nil
}

// LogFlags say what is logged and how.
type LogFlags struct {
	Level  slog.Level // --log-level
	Format string     // --log-format: text or json
}

// Register adds the flags to fs.
func (f *LogFlags) Register(fs *flag.FlagSet) {
	fs.TextVar(&f.Level, "log-level", slog.LevelInfo, "least `LEVEL` that is logged: debug, info, warn, error")
	Choice(fs, &f.Format, "log-format", "how log records are written", "text", "json")
}

// ServiceFlags are the flags that the binary of every service has.
type ServiceFlags struct {
	Bus    BusFlags
	Log    LogFlags
	Config List   // --config: files and folders with resources
	Admin  string // --admin: listen address of health, metrics and profiles
}

// Register adds the flags to fs.
func (f *ServiceFlags) Register(fs *flag.FlagSet) {
	f.Bus.Register(fs)
	f.Log.Register(fs)
	RegisterConfig(fs, &f.Config)
	fs.StringVar(&f.Admin, "admin", ":9600", "listen `ADDRESS` of /livez, /readyz, /metrics and /debug/pprof")
	RegisterVersion(fs)
}

// RegisterConfig adds --config, which every program that reads resources has.
func RegisterConfig(fs *flag.FlagSet, paths *List) {
	fs.Var(paths, "config", "`PATH` of a file or folder with resources; repeatable; watched for changes")
}

// RegisterStore adds --store, for services whose replicas share state.
func RegisterStore(fs *flag.FlagSet, address *string) {
	fs.StringVar(address, "store", "", "`URL` of a Redis server that replicas share: redis://user:password@host:6379/0, rediss:// or unix://; none if empty")
}

// RegisterVersion adds --version, which prints the version and makes Parse return flag.ErrHelp.
func RegisterVersion(fs *flag.FlagSet) {
	fs.Bool(versionFlag, false, "print the version")
}
