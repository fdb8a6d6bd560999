// SPDX-License-Identifier: Apache-2.0

// Command busbar-exporter hands what the router has laid out to back ends.
package main

import (
	"context"
	"io"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/exporter"
)

const name = "busbar-exporter"

func main() { run.Main(name, program) }

func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	var (
		flags      run.ServiceFlags
		otlp, page string
	)
	fs := run.NewFlags(name, "hands telemetry from the bus to back ends", "", stdout)
	flags.Register(fs)
	fs.StringVar(&otlp, "otlp", "", "`URL` of a destination otlp: http://host:4318, grpc://host:4317")
	fs.StringVar(&page, "prometheus", "", "listen `ADDRESS` of a destination page, for Prometheus to scrape")
	if err := run.Parse(fs, args, env); err != nil {
		return err
	}
	cfg := exporter.Default()
	cfg.Bus.URL, cfg.Bus.Creds = flags.Bus.URL, flags.Bus.Creds
	cfg.Root, cfg.Paths = subject.Root(flags.Bus.Root), flags.Config
	cfg.Log = admin.Logger(stderr, flags.Log.Level, flags.Log.Format)
	if otlp != "" {
		d, err := exporter.ParseOTLP(otlp)
		if err != nil {
			return err
		}
		cfg.Destinations = append(cfg.Destinations, d)
	}
	if page != "" {
		cfg.Destinations = append(cfg.Destinations, exporter.Page(page))
	}
	cfg.Admin = admin.New()
	port, err := cfg.Admin.Open(ctx, flags.Admin)
	if err != nil {
		return err
	}
	defer port.Close()
	return exporter.Run(ctx, cfg)
}
