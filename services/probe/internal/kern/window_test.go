// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"encoding/binary"
	"net"
	"testing"
)

// TestTakenWindows has windows taken on every CPU, as by programs that were preempted: an exchange goes on in those that are left, and
// nothing is written to the others. With all of them taken its bytes are not looked at, which is counted.
func TestTakenWindows(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k, r := start(t, Options{Tier: tier})
		windows := k.maps["windows"]
		last := windows.MaxEntries() - 1
		fill := func(number uint32, content byte, users uint32) {
			t.Helper()
			var each [][]byte
			if err := windows.Lookup(number, &each); err != nil {
				t.Fatal(err)
			}
			for _, w := range each {
				for i := range w {
					w[i] = content
				}
				binary.NativeEndian.PutUint32(w[len(w)-8:], users)
			}
			if err := windows.Put(number, each); err != nil {
				t.Fatal(err)
			}
		}
		exchange := func(client, server net.Conn) {
			t.Helper()
			conversation{talk: []said{c(get), s(hello)}}.hold(t, client, server)
		}
		for number := range last {
			fill(number, '#', 1)
		}
		client, server := pipe(t, "tcp", "127.0.0.1:0")
		exchange(client, server)
		want := []told{sent(get, 200, hello, 0)}
		for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
			checkHalves(t, role, r.wait(t, role, of(conn), 1), want)
		}
		for number := range last {
			var each [][]byte
			if err := windows.Lookup(number, &each); err != nil {
				t.Fatal(err)
			}
			for cpu, w := range each {
				if w[100] != '#' || binary.NativeEndian.Uint32(w[len(w)-8:]) != 1 {
					t.Errorf("window %d of CPU %d was used", number, cpu)
				}
			}
		}
		fill(last, '#', 1)
		blind, other := pipe(t, "tcp", "127.0.0.1:0")
		exchange(blind, other)
		if k.Blemishes()["window"] == 0 {
			t.Error("not counted")
		}
		for number := range last + 1 {
			fill(number, 0, 0)
		}
		client, server = pipe(t, "tcp", "127.0.0.1:0")
		exchange(client, server)
		for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
			checkHalves(t, role, r.wait(t, role, of(conn), 1), want)
		}
		if n := r.total(); n != 4 {
			t.Errorf("%d exchanges, want 4: %+v", n, r.exchanges)
		}
	})
}
