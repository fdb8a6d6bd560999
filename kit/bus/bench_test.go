// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"context"
	"encoding/binary"
	"sync"
	"testing"

	"github.com/busbar/busbar/kit/bus"
)

// batch is as large and as compressible as a batch of 500 exchanges: 64 KiB that shrink to half.
func batch() []byte {
	data := make([]byte, 64<<10)
	state := uint64(1)
	for i := 0; i+16 <= len(data); i += 16 {
		state = state*6364136223846793005 + 1442695040888963407
		binary.LittleEndian.PutUint64(data[i:], state)
		copy(data[i+8:], "GET /api")
	}
	return data
}

// BenchmarkPublishConsume carries batches over one durable hop; client, server and disk are in this process.
func BenchmarkPublishConsume(b *testing.B) {
	f := newFixture(b)
	provision(b, f.bus, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 256 << 20})
	data := batch()
	var arrived sync.WaitGroup
	s := spec()
	s.Workers = 2
	consume(b, f.connect(b), s, func(_ context.Context, d *bus.Delivery) error {
		defer arrived.Done()
		_, err := d.Data()
		return err
	})
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	window := make(chan struct{}, 64)
	for range b.N {
		arrived.Add(1)
		window <- struct{}{}
		err := f.bus.PublishAsync(bus.Msg{Subject: "s.a", Items: 500, Data: data}, func(err error) {
			if err != nil {
				b.Error(err)
			}
			<-window
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	arrived.Wait()
}

// BenchmarkPublish waits for each acknowledgement, as an ingest does.
func BenchmarkPublish(b *testing.B) {
	f := newFixture(b)
	provision(b, f.bus, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}, MaxBytes: 256 << 20})
	data := batch()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := f.bus.Publish(b.Context(), bus.Msg{Subject: "s.a", Items: 500, Data: data}); err != nil {
			b.Fatal(err)
		}
	}
}
