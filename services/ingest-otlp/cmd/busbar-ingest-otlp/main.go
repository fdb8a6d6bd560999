// SPDX-License-Identifier: Apache-2.0

// Command busbar-ingest-otlp takes OpenTelemetry data from whoever speaks OTLP and puts it on the bus, as a service of its own.
package main

import (
	"context"
	"io"
	"os"
	"runtime/debug"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
	ingestotlp "github.com/busbar/busbar/services/ingest-otlp"
)

const (
	// headroom is how many bytes more the heap may grow by between two collections.
	headroom = 32 << 20
	// memory is where the garbage collector begins to work harder, unless GOMEMLIMIT says otherwise: what the defaults let requests hold
	// fits in, and the process stays below 256 MiB. Headroom counts, and is none.
	memory = 144<<20 + headroom
)

func main() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	defer run.Headroom(headroom)()
	run.Main("busbar-ingest-otlp", program)
}

func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	cfg := ingestotlp.Default()
	var common run.ServiceFlags
	flags := run.NewFlags("busbar-ingest-otlp", "takes OpenTelemetry data from whoever speaks OTLP", "", stdout)
	common.Register(flags)
	cfg.Intake.Register(flags)
	keyHeaders := run.List(cfg.KeyHeaders)
	flags.StringVar(&cfg.GRPC, "grpc-listen", cfg.GRPC, "`ADDRESS` of OTLP over gRPC; off: none")
	flags.StringVar(&cfg.HTTP, "http-listen", cfg.HTTP, "`ADDRESS` of OTLP over HTTP; off: none")
	flags.Var(&keyHeaders, "key-header", "`NAME` of a further header that a key may be in; repeatable")
	flags.StringVar(&cfg.Node, "node", cfg.Node, "`NAME` of this machine")
	if err := run.Parse(flags, args, env); err != nil {
		return err
	}
	cfg.KeyHeaders = keyHeaders
	cfg.Bus.URL, cfg.Bus.Creds, cfg.Bus.Wait = common.Bus.URL, common.Bus.Creds, common.Bus.Wait
	cfg.Root = subject.Root(common.Bus.Root)
	cfg.Log = admin.Logger(stderr, common.Log.Level, common.Log.Format)
	cfg.Admin = admin.New()
	port, err := cfg.Admin.Open(ctx, common.Admin)
	if err != nil {
		return err
	}
	defer port.Close() //nolint:contextcheck // it closes after ctx has ended
	return ingestotlp.Run(ctx, cfg)
}
