// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

// off turns a listener off, in place of its address.
const off = "off"

// place is what the all-in-one takes of a machine: addresses, "host:port" or "off", and a folder.
type place struct {
	nats, prometheus, admin string
	dataDir                 string
}

func (p *place) register(fs *flag.FlagSet, env func(string) string) {
	fs.StringVar(&p.nats, "nats-listen", "127.0.0.1:4222", "`ADDRESS` of the embedded NATS server; off: this process only")
	fs.StringVar(&p.prometheus, "prometheus", "127.0.0.1:9464", "`ADDRESS` of the Prometheus page; off: none")
	fs.StringVar(&p.admin, "admin", "127.0.0.1:9600", "`ADDRESS` of /livez, /readyz, /metrics and /debug/pprof; off: none")
	fs.StringVar(&p.dataDir, "data-dir", defaultDataDir(os.Geteuid(), env), "`FOLDER` for what the bus stores")
}

// defaultDataDir is where a program of this user keeps state, by the usual rules.
func defaultDataDir(uid int, env func(string) string) string {
	if uid == 0 {
		return "/var/lib/busbar"
	}
	if state := env("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "busbar")
	}
	return filepath.Join(env("HOME"), ".local/state/busbar")
}

// addresses lists the listeners that are not off, by flag.
func (p *place) addresses() []listener {
	var all []listener
	for _, l := range []listener{{"--nats-listen", p.nats}, {"--prometheus", p.prometheus}, {"--admin", p.admin}} {
		if l.address != off {
			all = append(all, l)
		}
	}
	return all
}

// listener is an address and the flag that gives it.
type listener struct{ flag, address string }

// hostPort splits the address. An empty host means all of the machine's addresses.
func (l listener) hostPort() (host string, port int, err error) {
	host, text, err := net.SplitHostPort(l.address)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%s: %q is not an address such as 127.0.0.1:4222", l.flag, l.address)
	}
	return host, port, nil
}
