// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/run"
	ingestdatadog "github.com/busbar/busbar/services/ingest-datadog"
)

// datadogFlags say where Datadog's clients are listened for.
type datadogFlags struct{ intake, statsd string }

const (
	datadogIntake = "127.0.0.1:8126"
	datadogStatsd = "127.0.0.1:8125"
)

func (f *datadogFlags) register(fs *flag.FlagSet) {
	fs.StringVar(&f.intake, "datadog", datadogIntake, "`ADDRESS` for Datadog's Agents and tracers, HTTP; off: none")
	fs.StringVar(&f.statsd, "dogstatsd", datadogStatsd, "`ADDRESS` for DogStatsD, UDP; off: none")
}

func (f *datadogFlags) on() bool { return f.intake != off || f.statsd != off }

// asked tells whether somebody has asked for an address: then it must be had.
func (f *datadogFlags) asked() bool { return f.intake != datadogIntake || f.statsd != datadogStatsd }

// ingestDatadog takes data of Datadog's clients. Where their addresses are in use, most likely by an Agent, it is left out, unless they
// were asked for.
func (p parts) ingestDatadog() stage {
	cfg := ingestdatadog.Default()
	cfg.Bus, cfg.Root, cfg.Node = p.connection(ingestdatadog.Service), subject.Root(p.settings.bus.Root), p.node
	cfg.Admin, cfg.Log, cfg.QueueDir = p.health, p.log, filepath.Join(p.dataDir, ingestdatadog.Service)
	cfg.Address, cfg.Statsd = orNone(p.datadog.intake), orNone(p.datadog.statsd)
	return stage{ingestdatadog.Service, func(ctx context.Context) error {
		err := ingestdatadog.Run(ctx, cfg)
		if !errors.Is(err, syscall.EADDRINUSE) || p.datadog.asked() {
			return err
		}
		p.log.Warn("addresses for Datadog's clients are in use, they are left out", slog.Any("error", err))
		defer p.health.Check(ingestdatadog.Service, func() error { return nil })()
		<-ctx.Done()
		return nil
	}}
}

// orNone is an address as services know it: empty for none.
func orNone(address string) string {
	if address == off {
		return ""
	}
	return address
}

// datadog runs the tools for whoever comes from Datadog.
func datadog(ctx context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
	if len(args) == 0 || args[0] != "report" {
		if slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "--help" || a == "-help" }) {
			fmt.Fprintln(stdout, "busbar datadog report    what arrives, what becomes of it, and what is not understood")
			return flag.ErrHelp
		}
		return run.UsageError("busbar datadog", errors.New("want: busbar datadog report"))
	}
	var address string
	var asJSON bool
	fs := run.NewFlags("busbar datadog report", "tells what Datadog's clients have sent since the service began", "", stdout)
	fs.StringVar(&address, "admin", "127.0.0.1:9600", "`ADDRESS` of the admin port of the service, or of busbar up")
	fs.BoolVar(&asJSON, "json", false, "print JSON")
	if err := run.Parse(fs, args[1:], env); err != nil {
		return err
	}
	body, err := fetch(ctx, "http://"+address+"/datadog")
	if err != nil {
		return err
	}
	if asJSON {
		_, err = stdout.Write(body)
		return err
	}
	var sections map[string]json.RawMessage
	if err := json.Unmarshal(body, &sections); err != nil {
		return fmt.Errorf("read report: %w", err)
	}
	return printReport(stdout, sections)
}

const (
	reportTimeout = 10 * time.Second
	maxReport     = 16 << 20
)

func fetch(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for the report: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for the report: %s answers %s: is Datadog's ingest a part of it?", url, res.Status)
	}
	return io.ReadAll(io.LimitReader(res.Body, maxReport))
}

// printReport prints the sections that say something, what is most first.
func printReport(w io.Writer, sections map[string]json.RawMessage) error {
	for _, s := range []struct{ key, title string }{
		{"clients", "CLIENTS (requests)"}, {"requests", "REQUESTS"}, {"services", "SERVICES (records)"}, {"records", "RECORDS"},
		{"metrics", "METRICS: WHAT THEY BECOME (series)"}, {"tags", "TAGS: WHAT THEY ARE CALLED (series)"},
		{"unused", "ANSWERED, BUT OF NO USE HERE (requests)"}, {"refused", "REFUSED (requests)"}, {"dropped", "DROPPED (records)"},
		{"left", "NOT AS IT SHOULD BE"}, {"statsdBad", "LINES OF DOGSTATSD THAT WERE LOST"},
	} {
		var counts map[string]uint64
		if err := json.Unmarshal(sections[s.key], &counts); err != nil {
			return fmt.Errorf("read report: %s: %w", s.key, err)
		}
		if len(counts) == 0 {
			continue
		}
		fmt.Fprintln(w, s.title)
		table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
		for _, name := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
			return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
		}) {
			fmt.Fprintf(table, "  %d\t%s\n", counts[name], cmp.Or(name, "(none)"))
		}
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	return nil
}
