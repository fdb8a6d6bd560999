// SPDX-License-Identifier: Apache-2.0

package eventv1_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
)

var update = flag.Bool("update", false, "write samples that do not exist yet; an existing sample is never rewritten")

const samples = "../../testdata/wire"

// message is what every generated message of the bus can do.
type message interface {
	proto.Message
	MarshalVT() ([]byte, error)
	UnmarshalVT([]byte) error
}

// newMessage returns an empty message for a sample's file name: <schema>.<label>.bin.
func newMessage(t *testing.T, file string) message {
	t.Helper()
	switch strings.SplitN(filepath.Base(file), ".", 2)[0] {
	case "exchange-batch":
		return new(eventv1.ExchangeBatch)
	case "process-batch":
		return new(eventv1.ProcessBatch)
	case "heartbeat":
		return new(fleetv1.Heartbeat)
	}
	t.Fatalf("no message for sample %s", file)
	return nil
}

// TestWireSamples holds today's schema against the bytes of every version so far: each sample decodes, with both
// decoders, to the text beside it.
func TestWireSamples(t *testing.T) {
	t.Parallel()
	if *update {
		writeSamples(t)
	}
	files, err := filepath.Glob(filepath.Join(samples, "*.bin"))
	if err != nil || len(files) < 3 {
		t.Fatalf("samples in %s: %v, %v", samples, files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			wire, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(strings.TrimSuffix(file, ".bin") + ".textproto")
			if err != nil {
				t.Fatal(err)
			}
			want, got, gotVT := newMessage(t, file), newMessage(t, file), newMessage(t, file)
			if err := prototext.Unmarshal(text, want); err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(wire, got); err != nil {
				t.Fatal(err)
			}
			if err := gotVT.UnmarshalVT(wire); err != nil {
				t.Fatal(err)
			}
			for decoder, m := range map[string]message{"protobuf-go": got, "vtproto": gotVT} {
				if !proto.Equal(want, m) {
					t.Errorf("%s reads\n%s\nwant\n%s", decoder, prototext.Format(m), text)
				}
			}
			again, err := got.MarshalVT()
			if err != nil {
				t.Fatal(err)
			}
			back := newMessage(t, file)
			if err := proto.Unmarshal(again, back); err != nil || !proto.Equal(want, back) {
				t.Errorf("vtproto writes what protobuf-go does not read back: %v", err)
			}
		})
	}
}

func writeSamples(t *testing.T) {
	t.Helper()
	for name, m := range map[string]message{
		"exchange-batch.v1": sampleBatch(3),
		"exchange-batch.v2": sampleBatchV2(),
		"exchange-batch.v3": sampleBatchV3(),
		"process-batch.v1": &eventv1.ProcessBatch{
			Origin: sampleOrigin(),
			Events: []*eventv1.ProcessEvent{{Kind: eventv1.ProcessEvent_KIND_INSTRUMENTED, TimeUnixNano: 1_700_000_000_000_000_001, Process: sampleProcess(0)}},
		},
		"process-batch.v2": &eventv1.ProcessBatch{
			Origin: sampleOrigin(),
			Samples: []*eventv1.ProcessSample{{
				Process: sampleProcess(0), StartUnixNano: 1_700_000_000_000_000_000, TimeUnixNano: 1_700_000_010_000_000_000,
				UserNano: 3_000_000_000, SystemNano: 20_000_000, Processors: 8, MemoryBytes: 1 << 20, VirtualBytes: 1 << 30,
				Disk: &eventv1.Transfer{WrittenBytes: 4096}, Network: &eventv1.Transfer{ReadBytes: 1500, WrittenBytes: 60}, UserId: 1000,
			}},
		},
		"heartbeat.v1": &fleetv1.Heartbeat{
			Service: "probe", Instance: "n1-4711", Node: "n1", Version: "v0.1.0",
			StartedUnixNano: 1_700_000_000_000_000_000, TimeUnixNano: 1_700_000_010_000_000_000,
			Degraded: []string{"io_uring sends are not seen"}, Dropped: map[string]uint64{"ring_full": 2}, Facts: map[string]string{"tier": "btf"},
		},
	} {
		path := filepath.Join(samples, name)
		if _, err := os.Stat(path + ".bin"); err == nil {
			continue
		}
		wire, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		for ext, data := range map[string][]byte{".bin": wire, ".textproto": []byte(prototext.Format(m))} {
			if err := os.WriteFile(path+ext, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func sampleOrigin() *eventv1.Origin {
	return &eventv1.Origin{Node: "n1", Run: "6b1f0c9e", Sequence: 42, Dropped: map[string]uint64{"ring_full": 7}}
}

func sampleProcess(i int) *eventv1.Process {
	return &eventv1.Process{
		Pid: uint32(4711 + i), StartUnixNano: 1_700_000_000_000_000_000, ParentPid: 1, Executable: "/usr/bin/python3", Command: "python3",
		Arguments: []string{"-m", "http.server"}, Language: eventv1.Language_LANGUAGE_PYTHON,
		ContainerId: strings.Repeat("0123456789abcdef", 4), Cgroup: "/system.slice/shop.service",
		OtelServiceName: "shop", OtelResourceAttributes: "service.namespace=eu,team=cart", HostName: "web-0",
	}
}

// sampleBatch is a batch of n exchanges as probes make them: four processes, eight peers.
func sampleBatch(n int) *eventv1.ExchangeBatch {
	b := &eventv1.ExchangeBatch{Origin: sampleOrigin()}
	for i := range 4 {
		b.Processes = append(b.Processes, sampleProcess(i))
	}
	for i := range 8 {
		b.Addresses = append(b.Addresses, []byte{10, 0, 0, byte(i)})
	}
	for i := range n {
		b.Exchanges = append(b.Exchanges, &eventv1.Exchange{
			Process: uint32(i % 4), Role: eventv1.Role_ROLE_SERVER, Outcome: eventv1.Outcome_OUTCOME_COMPLETE,
			StartUnixNano: 1_700_000_000_000_000_000 + uint64(i)*1000, RequestEndNano: 1000, ResponseStartNano: 90_000, EndNano: 120_000,
			RequestBytes: 181, ResponseBytes: 1400, RequestHeadBytes: 181, ResponseHeadBytes: 120,
			LocalAddress: 0, LocalPort: 8080, PeerAddress: uint32(1 + i%7), PeerPort: uint32(30000 + i),
			TraceId: []byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, SpanId: []byte{byte(i), 1, 2, 3, 4, 5, 6, 7},
			ParentSpanId: []byte{9, 9, 9, 9, 9, 9, 9, byte(i)}, TraceFlags: 1,
			WireKey: &eventv1.WireKey{OpenerIsn: 0xdeadbeef, AcceptorIsn: uint32(i), RequestSeq: 77}, Thread: 4712,
			Protocol: &eventv1.Exchange_Http{Http: &eventv1.Http{
				Method: "GET", Path: "/cart/123", Host: "shop.example", Status: 200, MinorVersion: 1, UserAgent: "curl/7.88.1",
			}},
		})
	}
	return b
}

// sampleBatchV2 has what was added since the first version: unix sockets, FastCGI, TLS, queue time, resets, telemetry SDKs.
func sampleBatchV2() *eventv1.ExchangeBatch {
	b := sampleBatch(4)
	b.Processes[0].ExportsTraces, b.Processes[0].ExportsMetrics, b.Processes[0].Yield = true, true, eventv1.Yield_YIELD_SPANS
	b.Exchanges[0].WaitNano = 3_000_000
	b.Exchanges[0].TlsLibrary = eventv1.TlsLibrary_TLS_LIBRARY_OPENSSL
	b.Exchanges[1].Outcome, b.Exchanges[1].Abort = eventv1.Outcome_OUTCOME_RESET, eventv1.Abort_ABORT_TIMED_OUT
	b.Exchanges[2].UnixPath = "/run/php/php8.2-fpm.sock"
	b.Exchanges[2].GetHttp().Fastcgi = true
	b.Exchanges[3].Protocol = &eventv1.Exchange_Encrypted{Encrypted: &eventv1.Encrypted{ServerName: "shop.example", Version: 0x0304}}
	return b
}

// sampleBatchV3 has what was added since: the machine, and the name of a container.
func sampleBatchV3() *eventv1.ExchangeBatch {
	b := sampleBatch(1)
	b.Origin.Host = &eventv1.Host{
		Id: "3d1219c7c4c5404aaa1f6d2a48adfda4", Architecture: "amd64", Kernel: "6.18.44",
		OsName: "Debian GNU/Linux", OsVersion: "12", OsDescription: "Debian GNU/Linux 12 (bookworm)",
		CloudProvider: "aws", CloudInstance: "i-0123456789abcdef0", CloudType: "m7i.large",
	}
	b.Processes[0].Container = &eventv1.Container{
		Name: "shop-cart-1", Image: "registry.example/shop/cart:1.4", Labels: map[string]string{"com.docker.compose.service": "cart"},
	}
	return b
}

func BenchmarkMarshalBatch500(b *testing.B) {
	m := sampleBatch(500)
	buf := make([]byte, m.SizeVT())
	b.ReportAllocs()
	for b.Loop() {
		n := m.SizeVT()
		if _, err := m.MarshalToSizedBufferVT(buf[:n]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/exchange")
}

func BenchmarkUnmarshalBatch500(b *testing.B) {
	wire, err := sampleBatch(500).MarshalVT()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := new(eventv1.ExchangeBatch).UnmarshalVT(wire); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500, "ns/exchange")
}

// FuzzUnmarshalBatch: bytes from outside give a batch that can be written and read again, or an error.
func FuzzUnmarshalBatch(f *testing.F) {
	wire, err := sampleBatch(2).MarshalVT()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wire)
	f.Fuzz(func(t *testing.T, data []byte) {
		var m eventv1.ExchangeBatch
		if m.UnmarshalVT(data) != nil {
			return
		}
		again, err := m.MarshalVT()
		if err != nil {
			t.Fatal(err)
		}
		if err := new(eventv1.ExchangeBatch).UnmarshalVT(again); err != nil {
			t.Fatal(err)
		}
	})
}
