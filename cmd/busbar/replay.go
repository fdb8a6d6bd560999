// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/router"
)

// replaySettings are the flags of `busbar replay`.
type replaySettings struct {
	at          run.BusFlags
	log         run.LogFlags
	resources   run.List
	from, until moment
	to, through string
	asIs        bool
	match       run.List
	rate        int
	resume      string

	matcher matcher
	id      string // of this replay, in all message ids
	after   uint64 // sequence behind which to go on
}

func parseReplay(args []string, env func(string) string, stdout io.Writer) (*replaySettings, *flag.FlagSet, error) {
	s := new(replaySettings)
	fs := run.NewFlags("busbar replay", "sends what passed before to one destination", "", stdout)
	s.at.Register(fs)
	s.log.Register(fs)
	run.RegisterConfig(fs, &s.resources)
	fs.Var(&s.from, "from", "`TIME` at which to begin: -1h, or 2026-05-04T10:00:00Z")
	fs.Var(&s.until, "until", "`TIME` at which to end, in the same way (default now)")
	fs.StringVar(&s.to, "to", "", "`NAME` of the destination")
	fs.StringVar(&s.through, "through", "", "`PIPELINE` to take; without it, all those of --config that lead to the destination")
	fs.BoolVar(&s.asIs, "as-is", false, "send everything as it came, through no pipeline: nothing is redacted or filtered")
	fs.Var(&s.match, "match", "only `KEY=VALUE`, of tenant, namespace, service or signal; values may have *; repeatable")
	fs.IntVar(&s.rate, "rate", 10000, "at most `N` records a second")
	fs.StringVar(&s.resume, "resume", "", "go on at `PLACE`, which an earlier replay has printed")
	if err := run.Parse(fs, args, env); err != nil {
		return nil, nil, err
	}
	if err := s.complete(time.Now()); err != nil {
		return nil, nil, run.UsageError(fs.Name(), err)
	}
	return s, fs, nil
}

// complete checks the settings and makes the times absolute.
func (s *replaySettings) complete(now time.Time) (err error) {
	s.from.settle(now)
	s.until.settle(now)
	if s.until.at.IsZero() {
		s.until.at = now
	}
	switch {
	case s.to == "":
		return errors.New("want --to NAME, the destination")
	case s.from.at.IsZero():
		return errors.New("want --from TIME, such as --from -1h")
	case !s.from.at.Before(s.until.at):
		return fmt.Errorf("--from %s is not before --until %s", s.from.String(), s.until.String())
	case s.rate < 1:
		return fmt.Errorf("--rate: want at least 1 record a second, got %d", s.rate)
	case s.asIs && s.through != "":
		return errors.New("want --through or --as-is, not both")
	case !s.asIs && len(s.resources) == 0:
		return errors.New("want --config PATH, whose pipelines the data is to go through, or --as-is")
	}
	if s.matcher, err = newMatcher(s.match); err != nil {
		return err
	}
	s.id = strconv.FormatInt(now.UnixNano(), 36)
	if s.resume != "" {
		name, after, ok := strings.Cut(s.resume, "@")
		if s.after, err = strconv.ParseUint(after, 10, 64); !ok || name == "" || err != nil {
			return fmt.Errorf("--resume: %q is no place that a replay has printed", s.resume)
		}
		s.id = name
	}
	return nil
}

// replay sends a window of the past to the stream of one destination, from where its exporter takes it like anything else.
func replay(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	s, fs, err := parseReplay(args, env, stdout)
	if err != nil {
		return err
	}
	root := subject.Root(s.at.Root)
	way, err := s.passage(root) //nolint:contextcheck // compiling is short and asks nobody
	if err != nil {
		return err
	}
	defer func() { _ = way.Close() }() // its processors hold nothing
	b, err := bus.Connect(ctx, bus.Config{URL: s.at.URL, Creds: s.at.Creds, Wait: s.at.Wait, Name: "busbar-replay"}, admin.Logger(stderr, s.log.Level, s.log.Format))
	if err != nil {
		return err
	}
	defer b.Close()
	r := &replayer{replaySettings: s, bus: b, root: root, way: way, left: map[string]int{}, show: newProgress(stdout)}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	err = r.run(ctx)
	if r.done() {
		return errors.Join(err, r.finish(stdout))
	}
	r.show.line(r.status())
	fmt.Fprintf(stdout, "not finished; to go on:\n  %s\n", s.command(fs, r.after))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// passage is the way that the data takes.
func (s *replaySettings) passage(root subject.Root) (*router.Passage, error) {
	if s.asIs {
		return router.AsIs(root, s.to), nil
	}
	set, faults := examine(s.resources, flagRoutes())
	if len(faults) > 0 {
		return nil, faults
	}
	way, err := router.NewPassage(set, flagRoutes(), root, s.to, s.through)
	switch {
	case errors.Is(err, router.ErrNoWay) && s.through != "":
		return nil, fmt.Errorf("no pipeline %s in %s leads to destination %s", s.through, strings.Join(s.resources, ", "), s.to)
	case errors.Is(err, router.ErrNoWay):
		return nil, fmt.Errorf("no pipeline in %s leads to destination %s; --as-is sends it everything as it came, unredacted", strings.Join(s.resources, ", "), s.to)
	}
	return way, err
}

// flagRoutes are those that flags of `busbar up` may have asked for: pipelines may name their destinations.
func flagRoutes() router.Routes {
	return router.Routes{{Destination: "page", Signals: []subject.Signal{subject.Metrics}}, {Destination: "otlp"}}
}

// command is what to type to go on behind a message.
func (s *replaySettings) command(fs *flag.FlagSet, after uint64) string {
	words := []string{fs.Name()}
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "resume" && f.Name != "until" {
			words = append(words, "--"+f.Name+"="+quoted(f.Value.String()))
		}
	})
	return strings.Join(append(words, "--until="+s.until.String(), "--resume="+s.id+"@"+strconv.FormatUint(after, 10)), " ")
}

// quoted is a word as a shell takes it.
func quoted(s string) string {
	if s != "" && !strings.ContainsAny(s, " \t\n'\"\\$`*?[]{}()<>|&;!#~") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// moment is a flag that holds a time, or a duration before now.
type moment struct {
	ago time.Duration
	at  time.Time
}

func (m *moment) String() string {
	if m == nil || m.at.IsZero() {
		return ""
	}
	return m.at.UTC().Format(time.RFC3339Nano)
}

func (m *moment) Set(s string) error {
	if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
		*m = moment{at: at}
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d > 0 {
		return errors.New("want a time such as -1h or 2026-05-04T10:00:00Z")
	}
	*m = moment{ago: -d}
	return nil
}

// settle turns a duration into a time.
func (m *moment) settle(now time.Time) {
	if m.at.IsZero() && m.ago > 0 {
		m.at = now.Add(-m.ago)
	}
}

// matcher holds globs by key: of each key that is there, one must match.
type matcher map[string][]string

func newMatcher(texts []string) (matcher, error) {
	keys := []string{"namespace", "service", "signal", "tenant"}
	m := matcher{}
	for _, text := range texts {
		key, glob, ok := strings.Cut(text, "=")
		if _, err := path.Match(glob, ""); !ok || glob == "" || err != nil || !slices.Contains(keys, key) {
			return nil, fmt.Errorf("--match: want KEY=VALUE with KEY one of %s, got %q", strings.Join(keys, ", "), text)
		}
		if !strings.ContainsAny(glob, `*?[\`) {
			glob = subject.Token(glob)
		}
		m[key] = append(m[key], glob)
	}
	return m, nil
}

func (m matcher) takes(p subject.OTLPParts) bool {
	for key, value := range map[string]string{"namespace": p.Namespace, "service": p.Service, "signal": string(p.Signal), "tenant": p.Tenant} {
		globs := m[key]
		if len(globs) > 0 && !slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, value); return ok }) {
			return false
		}
	}
	return true
}

// filter is the narrowest subject that has all that matches.
func (m matcher) filter(root subject.Root) string {
	token := func(key string) string {
		if globs := m[key]; len(globs) == 1 && !strings.ContainsAny(globs[0], `*?[\`) {
			return globs[0]
		}
		return "*"
	}
	return strings.Join([]string{string(root), "otlp", token("signal"), token("tenant"), token("namespace"), token("service")}, ".")
}
