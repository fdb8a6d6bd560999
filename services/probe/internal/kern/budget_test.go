// SPDX-License-Identifier: Apache-2.0

package kern

import "testing"

// verifierBudget leaves half of what the verifier is willing to walk (a million instructions) for kernels that walk otherwise.
const verifierBudget = 500_000

func TestVerifierBudget(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		k := load(t, Options{Tier: tier, DefaultIgnore: true})
		defer k.Close()
		for name, p := range k.programs {
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			if n, ok := info.VerifiedInstructions(); ok && n > verifierBudget {
				t.Errorf("%s: the verifier walks %d instructions, the budget is %d", name, n, verifierBudget)
			} else {
				t.Logf("%s: %d", name, n)
			}
		}
	})
}
