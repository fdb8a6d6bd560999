// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"context"
	"os"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkExchange is what exchanges cost by tier, as CPU time of the thread that makes both halves of them over loopback, by
// system calls alone: without any program, with this process not observed, and observed, when each exchange makes two records.
func BenchmarkExchange(b *testing.B) {
	b.Run("none", exchanges)
	for _, tier := range tiers() {
		b.Run(tier.name, func(b *testing.B) {
			if err := tier.impossible(); err != nil {
				b.Skip(err)
			}
			k := load(b, Options{Tier: tier.name, DefaultIgnore: true})
			b.Cleanup(func() { _ = k.Close() })
			ctx, cancel := context.WithCancel(b.Context())
			done := make(chan error, 1)
			go func() { done <- k.Read(ctx, new(counter)) }()
			b.Run("ignored", exchanges)
			if err := k.Decide(uint32(os.Getpid()), Verdict{Observe: true, Threads: true}); err != nil {
				b.Fatal(err)
			}
			b.Run("observed", exchanges)
			cancel()
			if err := <-done; err != nil {
				b.Error(err)
			}
			for reason, n := range k.Drops() {
				if n > 0 {
					b.Errorf("%d times %s", n, reason)
				}
			}
		})
	}
}

// exchanges makes some in each iteration and reports the CPU time for one, in ns: that of the lowest decile of iterations, because a
// virtual machine takes for its own what its host spends on others.
func exchanges(b *testing.B) {
	const each = 64
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	client, server := blockingPipe(b)
	request := []byte("GET /api/v1/users/12345 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	response := []byte("HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
	buffer := make([]byte, 4096)
	pass := func(from, to int, message []byte) {
		if _, err := unix.Write(from, message); err != nil {
			b.Fatal(err)
		}
		if n, err := unix.Read(to, buffer); err != nil || n != len(message) {
			b.Fatal(n, err)
		}
	}
	var spent []float64
	for b.Loop() {
		begin := threadTime(b)
		for range each {
			pass(client, server, request)
			pass(server, client, response)
		}
		spent = append(spent, float64(threadTime(b)-begin)/each)
	}
	slices.Sort(spent)
	b.ReportMetric(spent[len(spent)/10], "cpu-ns/exchange")
	b.ReportMetric(0, "ns/op") // is that of all of an iteration
}

// blockingPipe returns both ends of a TCP connection, without the poller of the Go runtime.
func blockingPipe(b *testing.B) (client, server int) {
	b.Helper()
	check := func(fd int, err error) int {
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	listener := check(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	if err := unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		b.Fatal(err)
	}
	if err := unix.Listen(listener, 1); err != nil {
		b.Fatal(err)
	}
	at, err := unix.Getsockname(listener)
	if err != nil {
		b.Fatal(err)
	}
	client = check(unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0))
	if err := unix.Connect(client, at); err != nil {
		b.Fatal(err)
	}
	accepted, _, err := unix.Accept(listener)
	return client, check(accepted, err)
}

// threadTime returns the CPU time of this thread, in ns.
func threadTime(b *testing.B) int64 {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}
