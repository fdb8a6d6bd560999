// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"context"
	"syscall"
	"testing"
	"time"
)

// BenchmarkRead measures the CPU time of user space per record at a steady rate, in ns/record: what waking up, copying and
// handing over cost.
func BenchmarkRead(b *testing.B) {
	for _, rate := range []struct {
		name      string
		perSecond int
	}{{"20k per s", 20_000}, {"100k per s", 100_000}, {"300k per s", 300_000}} {
		b.Run(rate.name, func(b *testing.B) { benchmarkRead(b, rate.perSecond) })
	}
}

func benchmarkRead(b *testing.B, perSecond int) {
	k := load(b, Options{DefaultIgnore: true})
	g, err := k.NewGenerator(Exchange{Role: Server, Status: 200}, make([]byte, 200), make([]byte, 120))
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	ctx, cancel := context.WithCancel(b.Context())
	var sink counter
	done := make(chan error)
	go func() { done <- k.Read(ctx, &sink) }()
	const step = 20 * time.Millisecond
	var making time.Duration
	tick := time.NewTicker(step)
	defer tick.Stop()
	made := 0
	b.ReportAllocs()
	begin := cpuTime(b)
	for b.Loop() { // one iteration is one burst
		<-tick.C
		before := time.Now()
		if err := g.Emit(perSecond / int(time.Second/step)); err != nil {
			b.Fatal(err)
		}
		making += time.Since(before)
		made += perSecond / int(time.Second/step)
	}
	spent := cpuTime(b) - begin - making
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	if lost := int(k.Drops()["ring_full"]); sink.n != made || lost != 0 {
		b.Errorf("%d records made, %d read, %d dropped", made, sink.n, lost)
	}
	b.ReportMetric(float64(spent)/float64(made), "ns/record")
}

// counter is a Sink that counts.
type counter struct{ n int }

func (c *counter) Exchange(*Exchange, []byte, []byte)       { c.n++ }
func (c *counter) Process(*Process, []byte, []byte, []byte) {}
func (c *counter) Idle()                                    {}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
