// SPDX-License-Identifier: Apache-2.0

// Command busbar-enricher turns what probes saw into OpenTelemetry data, as a service of its own.
package main

import (
	"context"
	"io"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher"
)

// headroom is how many bytes more the heap may grow by between two collections.
const headroom = 40 << 20

func main() {
	defer run.Headroom(headroom)()
	run.Main("busbar-enricher", program)
}

func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	cfg := enricher.Default()
	var common run.ServiceFlags
	flags := run.NewFlags("busbar-enricher", "turns what probes saw into OpenTelemetry data", "", stdout)
	common.Register(flags)
	flags.IntVar(&cfg.Workers, "workers", cfg.Workers, "`NUMBER` of batches that are worked on at the same time")
	run.RegisterStore(flags, &cfg.Store)
	flags.StringVar(&cfg.Tenant, "tenant", cfg.Tenant, "`NAME` of the tenant to whom all that probes see belongs")
	flags.StringVar(&cfg.Node, "node", cfg.Node, "`NAME` of this machine")
	cfg.Kube.Register(flags)
	if err := run.Parse(flags, args, env); err != nil {
		return err
	}
	cfg.Bus.URL, cfg.Bus.Creds, cfg.Bus.Wait, cfg.Bus.Replicas = common.Bus.URL, common.Bus.Creds, common.Bus.Wait, common.Bus.Replicas
	cfg.Root, cfg.Paths = subject.Root(common.Bus.Root), common.Config
	cfg.Log = admin.Logger(stderr, common.Log.Level, common.Log.Format)
	cfg.Admin = admin.New()
	port, err := cfg.Admin.Open(ctx, common.Admin)
	if err != nil {
		return err
	}
	defer port.Close() //nolint:contextcheck // it closes after ctx has ended
	return enricher.Run(ctx, cfg)
}
