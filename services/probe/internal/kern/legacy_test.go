// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"net"
	"testing"
)

// TestLegacy runs the programs for kernels before 5.13 on this one.
func TestLegacy(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		if tier != TierKprobe && tier != TierSyscall {
			t.Skip("those kernels do not have this tier")
		}
		k, r := start(t, Options{Tier: tier, legacy: true})
		for _, name := range []string{"tls_leave", "on_tls_read", "sweep_at"} {
			if k.programs[name] == nil {
				t.Errorf("%s is not loaded: %v", name, k.Degraded())
			}
		}
		for name, p := range k.programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			if n, _ := info.VerifiedInstructions(); n > verifierBudget {
				t.Errorf("%s: the verifier walks %d instructions, the budget is %d", name, n, verifierBudget)
			}
		}
		for name, v := range conversations() {
			t.Run(name, func(t *testing.T) {
				client, server := pipe(t, "tcp", "127.0.0.1:0")
				v.hold(t, client, server)
				for role, conn := range map[Role]net.Conn{Client: client, Server: server} {
					checkHalves(t, role, r.wait(t, role, of(conn), len(v.want)), v.want)
				}
				if blindToUnix(tier) != nil {
					return
				}
				near, far, path := unixPipe(t, socketPath(t))
				v.hold(t, near, far)
				a, b := r.waitAt(t, Client, path, len(v.want)), r.waitAt(t, Server, path, len(v.want))
				checkHalves(t, Client, a, unkeyed(v.want))
				sameUnix(t, a, b)
			})
		}
		for name, v := range fcgiConversations() {
			t.Run("FastCGI, "+name, func(t *testing.T) {
				client, server := pipe(t, "tcp", "127.0.0.1:0")
				conversation{talk: v.talk, end: v.end}.hold(t, client, server)
				checkFastCGI(t, Server, r.wait(t, Server, of(server), len(v.want)), v.want)
			})
		}
	})
}
