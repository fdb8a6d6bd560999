// SPDX-License-Identifier: Apache-2.0

// Command busbar-ingest-datadog takes the data of Datadog's Agents, tracers and DogStatsD clients, as a service of its own.
package main

import (
	"context"
	"io"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
	ingestdatadog "github.com/busbar/busbar/services/ingest-datadog"
)

func main() { run.Main("busbar-ingest-datadog", program) }

func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	cfg := ingestdatadog.Default()
	var common run.ServiceFlags
	flags := run.NewFlags("busbar-ingest-datadog", "takes what Datadog's Agents, tracers and DogStatsD clients send", "", stdout)
	common.Register(flags)
	cfg.Register(flags)
	if err := run.Parse(flags, args, env); err != nil {
		return err
	}
	cfg.Bus.URL, cfg.Bus.Creds, cfg.Bus.Wait = common.Bus.URL, common.Bus.Creds, common.Bus.Wait
	cfg.Root = subject.Root(common.Bus.Root)
	cfg.Log = admin.Logger(stderr, common.Log.Level, common.Log.Format)
	cfg.Admin = admin.New()
	port, err := cfg.Admin.Open(ctx, common.Admin)
	if err != nil {
		return err
	}
	defer port.Close() //nolint:contextcheck // it closes after ctx has ended
	return ingestdatadog.Run(ctx, cfg)
}
