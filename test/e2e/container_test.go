// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTLSInContainer: a server with a pid and files of its own has a TLS library that nobody outside can name. Its plaintext is seen
// nevertheless.
func TestTLSInContainer(t *testing.T) {
	needRoot(t)
	cert, key := certificate(t)
	raw := listenRaw(t, allInOne(t).nats)
	s := server{"container", freeAddress(t)}
	const own = "mount -t tmpfs none /mnt && cp -L /usr/lib/*-linux-gnu/libssl.so.3 /usr/lib/*-linux-gnu/libcrypto.so.3 /mnt && " +
		"LD_LIBRARY_PATH=/mnt exec python3 testdata/server.py "
	p := start(t, nil, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", own+s.address+" "+cert+" "+key)
	wait(t, 30*time.Second, "the server to listen", func() bool { return dials(s.address) })
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	inside, err := strconv.Atoi(strings.TrimSpace(string(children)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(inside, syscall.SIGKILL) }) // what waits for it lets no signal end it
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", inside))
	if err != nil || !strings.Contains(string(maps), "/mnt/libssl.so.3") {
		t.Fatalf("the server has not its own library: %v\n%s", err, maps)
	}
	for _, c := range tlsClients(cert) {
		if c.service != "curl" {
			continue
		}
		warmUp(t, raw, c, s)
		sent := map[string]bool{}
		rs := tlsPlan(s, c, 200)
		for _, r := range rs {
			sent[r.path] = true
		}
		c.run(t, rs)
		checkTLS(t, raw, "/"+c.service+"/"+s.service+"/", sent, c.library)
	}
}
