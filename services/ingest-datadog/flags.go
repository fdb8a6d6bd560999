// SPDX-License-Identifier: Apache-2.0

package ingestdatadog

import (
	"flag"

	"github.com/busbar/busbar/services/ingest-datadog/internal/forward"
)

// Register adds the flags of the service to fs, besides those of its listeners.
func (c *Config) Register(fs *flag.FlagSet) {
	c.Settings.Register(fs)
	fs.StringVar(&c.Address, "listen", c.Address, "`ADDRESS` of Agents' intake and tracers' API, HTTP; none if empty")
	fs.StringVar(&c.Socket, "listen-socket", c.Socket, "`PATH` of a unix socket for the same, as /var/run/datadog/apm.socket; none if empty")
	fs.StringVar(&c.Statsd, "statsd", c.Statsd, "`ADDRESS` of DogStatsD, UDP; none if empty")
	fs.StringVar(&c.StatsdSocket, "statsd-socket", c.StatsdSocket, "`PATH` of a unix socket for its datagrams, as /var/run/datadog/dsd.socket; none if empty")
	fs.StringVar(&c.StatsdStream, "statsd-stream", c.StatsdStream, "`PATH` of a unix socket for streams of them; none if empty")
	fs.IntVar(&c.Contexts, "statsd-contexts", c.Contexts, "`NUMBER` of series of DogStatsD that are added up at a time")
	fs.BoolVar(&c.KeepNames, "keep-datadog-names", c.KeepNames, "keep names and tags that are called otherwise in OpenTelemetry beside the new ones")
	fs.BoolVar(&c.Raw, "keep-values", c.Raw, "keep literals of SQL, arguments of Redis and queries of URLs that tracers send")
	fs.Func("forward", "`KIND=URL` that requests are sent on to unchanged, several parted by commas; KIND is api, logs, traces or tracers", func(s string) (err error) {
		c.Forward, err = forward.Parse(s)
		return err
	})
	fs.StringVar(&c.Node, "node", c.Node, "`NAME` of this machine")
}
