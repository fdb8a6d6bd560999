// SPDX-License-Identifier: Apache-2.0

// Command busbar-probe observes the processes of a machine, as a service of its own. It needs root, or the capabilities that
// `busbar doctor` lists.
package main

import (
	"context"
	"io"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/admin"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/probe"
)

const name = "busbar-probe"

func main() { run.Main(name, program) }

func program(ctx context.Context, args []string, env func(string) string, stdout, stderr io.Writer) error {
	cfg := probe.Default()
	var common run.ServiceFlags
	flags := run.NewFlags(name, "observes the processes of this machine", "", stdout)
	common.Register(flags)
	flags.StringVar(&cfg.Node, "node", cfg.Node, "`NAME` of this machine")
	run.Choice(flags, &cfg.Tier, "tier", "hooks to use", probe.TierAuto, probe.TierBTF, probe.TierFentry, probe.TierKprobe, probe.TierSyscall)
	flags.IntVar(&cfg.RingBytes, "ring-bytes", cfg.RingBytes, "size in `BYTES` of the ring that the kernel writes to, a power of two")
	flags.IntVar(&cfg.SpoolBytes, "spool-bytes", cfg.SpoolBytes, "`BYTES` kept in memory while the bus is away")
	flags.DurationVar(&cfg.MeasureEvery, "process-metrics", cfg.MeasureEvery, "how often it is measured what observed processes use, as a `DURATION`; 0 for never")
	flags.StringVar(&cfg.ProcRoot, "proc", cfg.ProcRoot, "`FOLDER` where the machine's procfs is mounted")
	flags.StringVar(&cfg.DockerSocket, "docker-socket", cfg.DockerSocket, "`PATH` at which Docker or Podman tells the names of containers, several parted by commas; empty: do not ask")
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
	defer port.Close()
	return probe.Run(ctx, cfg)
}
