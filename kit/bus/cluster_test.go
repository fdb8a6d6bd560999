// SPDX-License-Identifier: Apache-2.0

package bus_test

import (
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/kit/bus/bustest"
)

// TestCluster: each of three servers has a copy of a stream, so one that is gone loses nothing and holds up nobody.
func TestCluster(t *testing.T) {
	t.Parallel()
	servers := cluster(t, 3)
	var urls []string
	for _, s := range servers {
		urls = append(urls, s.ClientURL())
	}
	b, err := bus.Connect(t.Context(), bus.Config{URL: strings.Join(urls, ","), Name: "test", Wait: time.Minute, Replicas: 3}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	provision(t, b, bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}, Replicas: 1})
	const half = 50
	for i := range 2 * half {
		if i == half {
			leader := leaderOf(t, urls, "S")
			for _, s := range servers {
				if s.Name() == leader {
					s.Shutdown()
					s.WaitForShutdown()
				}
			}
		}
		publish(t, b, bus.Msg{Subject: "s.a", ID: fmt.Sprint(i)})
	}
	if got := len(bustest.ReadAll(t, b, "S", "")); got != 2*half {
		t.Errorf("%d messages are stored, want %d", got, 2*half)
	}
}

// TestReplicasNeedACluster: one server cannot keep three copies, and that is said.
func TestReplicasNeedACluster(t *testing.T) {
	t.Parallel()
	s := bustest.Start(t)
	cfg := s.Config("test")
	cfg.Replicas = 3
	b, err := bus.Connect(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	err = b.Provision(t.Context(), bus.StreamSpec{Name: "S", Subjects: []string{"s.>"}})
	if err == nil || !strings.Contains(err.Error(), "replicas > 1 not supported in non-clustered mode") {
		t.Errorf("got %v", err)
	}
}

// cluster starts servers that know each other.
func cluster(t *testing.T, n int) []*server.Server {
	t.Helper()
	var routes []string
	var listeners []net.Listener // held until all have a port
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", ports[i]))
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	servers := make([]*server.Server, n)
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port}, Routes: server.RoutesFromStr(strings.Join(routes, ",")),
		})
		if err != nil {
			t.Fatal(err)
		}
		servers[i] = s
	}
	for i, s := range servers {
		s.Start()
		t.Cleanup(func() {
			s.Shutdown()
			s.WaitForShutdown()
		})
		if !s.ReadyForConnections(time.Minute) {
			t.Fatalf("server %d does not start", i)
		}
	}
	return servers
}

// leaderOf names the server that leads a stream.
func leaderOf(t *testing.T, urls []string, stream string) string {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls, ","))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	info := s.CachedInfo()
	if len(info.Cluster.Replicas) != 2 {
		t.Errorf("copies besides the leader's: %d", len(info.Cluster.Replicas))
	}
	return info.Cluster.Leader
}
