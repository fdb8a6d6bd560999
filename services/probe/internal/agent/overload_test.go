// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// httpRole makes the test binary an HTTP server.
const httpRole = "AGENT_TEST_HTTP"

// serveHTTP answers on an address until its input ends, and prints where that is.
func serveHTTP(address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stdout, ln.Addr())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		ln.Close()
	}()
	_ = http.Serve(ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) //nolint:gosec // of a test
	return nil
}

// httpProcess starts serveHTTP in a process of its own.
func httpProcess(t *testing.T) (pid uint32, address string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), httpRole+"=127.0.0.1:0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return uint32(cmd.Process.Pid), strings.TrimSpace(line)
}

// stallable is the kernel's side read by a process that a test can keep from the CPU.
type stallable struct {
	*kern.Kern
	cpu sync.Mutex // held by the reader while it handles a record
}

func (s *stallable) Read(ctx context.Context, sink kern.Sink) error {
	return s.Kern.Read(ctx, &stallableSink{sink, &s.cpu})
}

type stallableSink struct {
	kern.Sink
	cpu *sync.Mutex
}

func (s *stallableSink) Exchange(e *kern.Exchange, request, response []byte) {
	s.cpu.Lock()
	defer s.cpu.Unlock()
	s.Sink.Exchange(e, request, response)
}

// TestOverload makes a server's exchanges under a ring of one page that nobody reads for a while, a bus that goes away, and a spool
// of a few batches. However many are lost: what was made is what is on the bus and what was counted, to the last one.
func TestOverload(t *testing.T) {
	if os.Geteuid() != 0 && os.Getenv("REQUIRE_BPF") != "1" {
		t.Skip("loading programs into the kernel needs root")
	}
	pid, address := httpProcess(t)
	k, err := kern.Load(kern.Options{RingBytes: os.Getpagesize(), DefaultIgnore: true})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	server := bustest.Start(t)
	config := server.Config("test")
	config.WindowMessages = 2
	out, err := bus.Connect(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Provision(t.Context(), bus.StreamSpec(subject.DefaultRoot.RawStream())); err != nil {
		t.Fatal(err)
	}
	kernel, registry := &stallable{Kern: k}, prometheus.NewPedanticRegistry()
	cfg := testConfig()
	cfg.SpoolBytes, cfg.Metrics = 16<<10, registry
	a, err := New(cfg, kernel, out, selector(t, "{select: [{pids: ["+strconv.Itoa(int(pid))+"]}]}"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()

	var client http.Client
	made := uint64(0)
	request := func() {
		resp, err := client.Get("http://" + address + "/" + strconv.FormatUint(made, 10)) //nolint:noctx // of a test
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		made++
	}
	accounted := func() bool { return a.spool.empty() && published(t, out)+total(a.losses.snapshot()) == made }
	lost := func(reason string) uint64 { return a.losses.snapshot()[reason] }

	for range 100 {
		request()
	}
	bustest.Eventually(t, "all of a quiet time is accounted for", accounted)
	kernel.cpu.Lock()
	for range 100 { // a page holds some ten
		request()
	}
	kernel.cpu.Unlock()
	bustest.Eventually(t, "all that met a full ring is accounted for", accounted)
	server.Stop()
	for lost("spool") == 0 {
		request()
	}
	server.Start()
	bustest.Eventually(t, "all of an outage is accounted for", accounted)
	for range 100 {
		request()
	}
	bustest.Eventually(t, "all that came after is accounted for", accounted)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	client.CloseIdleConnections()

	if lost("ring_full") < 50 || lost("spool") == 0 {
		t.Errorf("too little was lost to learn from: %v", a.losses.snapshot())
	}
	last := uint64(0)
	for _, b := range exchangeBatches(t, out) {
		last = max(last, b.GetOrigin().GetDropped()["spool"])
	}
	if last != lost("spool") {
		t.Errorf("batches tell of %d exchanges lost in the spool, %d were", last, lost("spool"))
	}
	for reason, n := range a.losses.snapshot() {
		if got := dropped(t, registry, reason); got != n {
			t.Errorf("the metric has %d records lost by %s, %d were", got, reason, n)
		}
	}
}

// total adds up the losses that are exchanges.
func total(losses map[string]uint64) (sum uint64) {
	for reason, n := range losses {
		if !strings.HasSuffix(reason, "_process") {
			sum += n
		}
	}
	return sum
}

func exchangeBatches(t *testing.T, b *bus.Bus) (batches []*eventv1.ExchangeBatch) {
	t.Helper()
	for _, d := range bustest.ReadAll(t, b, subject.DefaultRoot.RawStream().Name, "busbar.raw.exchange.>") {
		data, err := d.Data()
		if err != nil {
			t.Fatal(err)
		}
		m := new(eventv1.ExchangeBatch)
		if err := m.UnmarshalVT(data); err != nil {
			t.Fatal(err)
		}
		batches = append(batches, m)
	}
	return batches
}

func published(t *testing.T, b *bus.Bus) (n uint64) {
	t.Helper()
	for _, m := range exchangeBatches(t, b) {
		n += uint64(len(m.GetExchanges()))
	}
	return n
}

// dropped reads busbar_dropped_records_total.
func dropped(t *testing.T, registry *prometheus.Registry, reason string) uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "busbar_dropped_records_total" && l.GetName() == "reason" && l.GetValue() == reason {
					return uint64(m.GetCounter().GetValue())
				}
			}
		}
	}
	return 0
}
