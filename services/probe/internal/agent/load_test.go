// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/embedded"
	"github.com/busbar/busbar/services/probe/internal/kern"
)

// busRole makes the test binary a NATS server, so that a benchmark does not count what the server costs.
const busRole = "AGENT_TEST_BUS"

// serveBus runs a server until its input ends, and prints its address.
func serveBus(dir string) error {
	s, err := embedded.Start(embedded.Options{Port: -1, StoreDir: dir})
	if err != nil {
		return err
	}
	defer s.Shutdown()
	fmt.Fprintln(os.Stdout, s.ClientURL())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// busProcess starts serveBus in a process of its own.
func busProcess(b *testing.B) *bus.Bus {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), busRole+"="+b.TempDir())
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	c, err := bus.Connect(b.Context(), bus.Config{URL: strings.TrimSpace(url), Name: "bench"}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	if err := c.Provision(b.Context(), bus.StreamSpec(subject.DefaultRoot.RawStream())); err != nil {
		b.Fatal(err)
	}
	return c
}

// BenchmarkLoad is the whole probe in user space, from the kernel's ring to acknowledged messages on a bus in another process, at
// a steady rate of made-up exchanges. It reports CPU time per exchange without that of their making, what of it the same process
// spends without any exchange (on its timers, and on processes that come and go on the machine), and resident memory.
func BenchmarkLoad(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("loading programs into the kernel needs root")
	}
	for _, perSecond := range []int{20_000, 100_000, 1_000_000} { // the last keeps half a core busy; the ring must not overflow
		b.Run(strconv.Itoa(perSecond)+" per s", func(b *testing.B) { benchmarkLoad(b, perSecond) })
	}
}

func benchmarkLoad(b *testing.B, perSecond int) {
	out := busProcess(b)
	k, err := kern.Load(kern.Options{DefaultIgnore: true})
	if err != nil {
		b.Fatal(err)
	}
	defer k.Close()
	parent := uint32(os.Getppid())
	cfg := testConfig()
	cfg.SpoolBytes = 64 << 20
	a, err := New(cfg, k, out, selector(b, "{select: [{pids: ["+strconv.Itoa(int(parent))+"]}]}"))
	if err != nil {
		b.Fatal(err)
	}
	sample := kern.Exchange{Role: kern.Server, Flags: kern.Keyed, Status: 200, TGID: parent, RequestBytes: 300, ResponseBytes: 900}
	sample.SetAddrs(netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:40000"))
	g, err := k.NewGenerator(sample, []byte("GET /api/v1/users/12345/orders?token=secret HTTP/1.1\r\nHost: shop.example:8080\r\nAccept: */*\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nConnection: keep-alive\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\nContent-Length: 700\r\n\r\n"))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var ended sync.WaitGroup
	ended.Go(func() {
		if err := a.Run(ctx); err != nil {
			b.Error(err)
		}
	})
	step := min(20*time.Millisecond, 5000*time.Second/time.Duration(perSecond)) // the ring holds several bursts
	tick := time.NewTicker(step)
	defer tick.Stop()
	idle := meter(b)
	for range 100 {
		<-tick.C
	}
	without := idle(0)
	burst, made, making := perSecond/int(time.Second/step), 0, time.Duration(0)
	load := meter(b)
	for b.Loop() { // one iteration is what comes in one step
		<-tick.C
		making += emit(b, g, burst)
		made += burst
	}
	with, resident := load(making), residentMiB(b)
	cancel()
	ended.Wait()
	lost := 0
	for _, n := range a.Status().Dropped {
		lost += int(n)
	}
	if published := int(a.Status().Exchanges); published+lost != made {
		b.Errorf("%d exchanges made, %d published, dropped %v", made, published, a.Status().Dropped)
	}
	b.ReportMetric(float64(lost)/float64(made), "lost/exchange")
	b.ReportMetric(with*1e9/float64(perSecond), "cpu-ns/exchange")
	b.ReportMetric(without*1e9/float64(perSecond), "idle-ns/exchange")
	b.ReportMetric(resident, "resident-MiB")
	b.ReportMetric(0, "ns/op") // is the step
}

// emit makes n exchanges and returns the CPU time that took.
func emit(b *testing.B, g *kern.Generator, n int) time.Duration {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := used(b, rusageThread)
	if err := g.Emit(n); err != nil {
		b.Fatal(err)
	}
	return used(b, rusageThread) - began
}

// meter returns a function that tells which share of a CPU this process has used since, without some of it.
func meter(b *testing.B) func(without time.Duration) float64 {
	b.Helper()
	began, before := time.Now(), used(b, syscall.RUSAGE_SELF)
	return func(without time.Duration) float64 {
		return float64(used(b, syscall.RUSAGE_SELF)-before-without) / float64(time.Since(began))
	}
}

// rusageThread is RUSAGE_THREAD, which package syscall lacks.
const rusageThread = 1

func used(b *testing.B, who int) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(who, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentMiB(b *testing.B) float64 {
	b.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(data))[1])
	if err != nil {
		b.Fatal(err)
	}
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}
