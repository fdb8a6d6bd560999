// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/test/internal/child"
)

// The programs, by the names that rows have for them.
const (
	natsServer  = "nats-server"
	redisServer = "redis-server"
	enricher    = "busbar-enricher"
	router      = "busbar-router"
	exporter    = "busbar-exporter"
)

// programs are what the lab runs.
func programs() map[string]string {
	const module = "github.com/busbar/busbar/services/"
	return map[string]string{
		natsServer: "github.com/nats-io/nats-server/v2",
		enricher:   module + "enricher/cmd/" + enricher,
		router:     module + "router/cmd/" + router,
		exporter:   module + "exporter/cmd/" + exporter,
	}
}

// lab is an installation as separate processes with two back ends: "tried", which rows of back ends trouble, over HTTP, and
// "other", over gRPC, and a page of each exporter. What tried gets has gone through steps, what other gets has passed untouched.
type lab struct {
	bin, dir     string
	store        string // folder of nats-server
	nats         string // address
	redis        string // address, "" for none
	config       string // path
	tried, other *receiver

	mu      sync.Mutex            // guards what follows
	running map[string][]*process // by name, the oldest first
	all     []*process            // that were ever started
}

// process is a program at work.
type process struct {
	*child.Child
	name        string
	admin, page string // addresses
}

const resources = `apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: tried}
spec: {otlp_http: {endpoint: "http://%s"}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: other}
spec: {otlp_grpc: {endpoint: "%s", tls: {insecure: true}}}
---
apiVersion: busbar.dev/v1
kind: Destination
metadata: {name: page}
spec: {prometheus: {endpoint: "${env:FAULTS_PAGE}"}}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: change}
spec:
  to: [tried]
  signals: [traces]
  steps:
    - limit: {records: 10000000, per: tenant, over: drop}
    - transform: 'set(span.attributes["team"], "checkout")'
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: numbers}
spec: {to: [page], signals: [metrics], services: ["count-*"]}
---
apiVersion: busbar.dev/v1
kind: Pipeline
metadata: {name: pass}
spec: {to: [other], signals: [traces]}
`

// options are what labs differ in.
type options struct {
	store     string // folder of nats-server; "": one of its own
	replicas  int    // of router and exporter
	redis     bool   // that the routers share
	resources string // with a verb for the HTTP address of tried and one for the gRPC address of other
}

// newLab starts everything.
func newLab(ctx context.Context, bin string, o options) (*lab, error) {
	dir, err := os.MkdirTemp("", "busbar-faults-")
	if err != nil {
		return nil, err
	}
	l := &lab{bin: bin, dir: dir, store: o.store, tried: new(receiver), other: new(receiver), running: map[string][]*process{}}
	if l.store == "" {
		l.store = filepath.Join(dir, "store")
	}
	if err := l.start(ctx, o); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) start(ctx context.Context, o options) error {
	at, err := child.Free(2)
	if err != nil {
		return err
	}
	l.nats, l.config = at[0], filepath.Join(l.dir, "resources.yaml")
	if err := errors.Join(l.tried.open(ctx), l.other.open(ctx)); err != nil {
		return err
	}
	if err := os.WriteFile(l.config, fmt.Appendf(nil, o.resources, l.tried.http, l.other.grpc), 0o600); err != nil {
		return err
	}
	first := []string{natsServer, enricher}
	if o.redis {
		l.redis = at[1]
		first = append(first, redisServer)
	}
	for _, name := range first {
		if err := l.launch(ctx, name); err != nil {
			return err
		}
	}
	for range o.replicas {
		if err := errors.Join(l.launch(ctx, router), l.launch(ctx, exporter)); err != nil {
			return err
		}
	}
	for _, p := range slices.Concat(l.running[enricher], l.running[router], l.running[exporter]) {
		if err := child.Ready(ctx, p.Child, p.admin); err != nil {
			return err
		}
	}
	return nil
}

// launch starts one more of a program.
func (l *lab) launch(ctx context.Context, name string) error {
	at, err := child.Free(2)
	if err != nil {
		return err
	}
	p := &process{name: name, admin: at[0], page: at[1]}
	path, args := filepath.Join(l.bin, name), []string{"--nats-url", l.url(), "--nats-wait", "1m", "--config", l.config, "--admin", p.admin}
	listens := ""
	switch {
	case name == natsServer:
		listens = l.nats
		args, err = l.natsArgs()
	case name == redisServer:
		path, err = exec.LookPath(redisServer)
		listens = l.redis
		args = []string{"--bind", "127.0.0.1", "--port", child.Port(l.redis), "--save", "", "--dir", l.dir}
	case name == router && l.redis != "":
		args = append(args, "--store", "redis://"+l.redis)
	}
	if err != nil {
		return err
	}
	if p.Child, err = child.LaunchWith(ctx, []string{"FAULTS_PAGE=" + p.page}, path, args...); err != nil {
		return err
	}
	l.mu.Lock()
	l.running[name] = append(l.running[name], p)
	l.all = append(l.all, p)
	l.mu.Unlock()
	if listens != "" {
		return child.Listening(ctx, listens)
	}
	return nil
}

// natsArgs says that streams may be larger than the disk: rows fill it.
func (l *lab) natsArgs() ([]string, error) {
	host, port, _ := strings.Cut(l.nats, ":")
	config := filepath.Join(l.dir, "nats.conf")
	text := fmt.Sprintf("listen: %q\njetstream {store_dir: %q, max_file_store: 100GB}\n", host+":"+port, l.store)
	return []string{"-c", config}, os.WriteFile(config, []byte(text), 0o600)
}

// end sends a signal to the oldest process of a program and waits until it has ended.
func (l *lab) end(name string, signal syscall.Signal) error {
	l.mu.Lock()
	p := l.running[name][0]
	l.running[name] = l.running[name][1:]
	l.mu.Unlock()
	if err := p.Ended(); err != nil {
		return err
	}
	return p.End(signal)
}

// close ends everything.
func (l *lab) close() {
	for _, name := range []string{enricher, router, exporter, natsServer, redisServer} {
		for _, p := range l.running[name] {
			_ = p.End(syscall.SIGTERM)
		}
	}
	for _, r := range []*receiver{l.tried, l.other} {
		if r.web != nil {
			r.close()
		}
	}
	_ = os.RemoveAll(l.dir)
}

// keepLogs writes what the processes have printed to a file, and returns an error that says where.
func (l *lab) keepLogs(row string) error {
	f, err := os.CreateTemp("", "busbar-faults-*.log")
	if err != nil {
		return err
	}
	for _, p := range l.all {
		fmt.Fprintf(f, "--- %s\n%s", p.name, p.Log())
	}
	return errors.Join(f.Close(), fmt.Errorf("%s: what the processes printed is in %s", row, f.Name()))
}

// pages returns the addresses of the pages of the exporters that run.
func (l *lab) pages() (at []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.running[exporter] {
		at = append(at, p.page)
	}
	return at
}

func (l *lab) url() string { return "nats://" + l.nats }

// dead returns the records of the dead letters of a stage.
func (l *lab) dead(ctx context.Context, stage string) (*tally, error) {
	b, err := bus.Connect(ctx, bus.Config{URL: l.url(), Name: "faults"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer b.Close()
	t := new(tally)
	err = b.Replay(ctx, root.DeadStream().Name, string(root)+".dead."+stage+".>", func(d *bus.Delivery) error {
		data, err := d.Data()
		if err != nil {
			return err
		}
		q := ptraceotlp.NewExportRequest()
		if err := q.UnmarshalProto(data); err != nil {
			return err
		}
		each(q.Traces(), t.came)
		return nil
	})
	return t, err
}

// waiting returns how many messages are on their way to the back ends.
func (l *lab) waiting(ctx context.Context) (messages int, err error) {
	b, err := bus.Connect(ctx, bus.Config{URL: l.url(), Name: "faults"}, slog.New(slog.DiscardHandler))
	if err != nil {
		return 0, err
	}
	defer b.Close()
	for _, c := range [][2]string{
		{root.RawStream().Name, "enricher"}, {root.OTLPStream().Name, "router"},
		{root.OutStream("tried").Name, "exporter"}, {root.OutStream("other").Name, "exporter"},
	} {
		at, err := b.Position(ctx, c[0], c[1])
		if err != nil {
			return 0, err
		}
		messages += int(at.Pending) + at.Unacked //nolint:gosec // A count.
	}
	return messages, nil
}

// scrape returns the metrics of a process as text, "" if it does not answer.
func (p *process) scrape(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
	if err != nil {
		return ""
	}
	res, err := http.DefaultClient.Do(q)
	if err != nil {
		return ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return ""
	}
	return string(body)
}
