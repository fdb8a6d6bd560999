// SPDX-License-Identifier: Apache-2.0

package kern

import "testing"

func TestDoctor(t *testing.T) {
	reports, err := Doctor()
	if err != nil {
		t.Skip(err)
	}
	for _, r := range reports {
		k := load(t, Options{Tier: r.Name, DefaultIgnore: true})
		if !r.Works || len(k.Degraded()) > 0 {
			t.Errorf("tier %s loads, degraded by %v, but the report says %+v", r.Name, k.Degraded(), r)
		}
		for _, h := range r.Hooks {
			if h.Use == "" || h.Works != (h.Reason == "") {
				t.Errorf("tier %s: %+v", r.Name, h)
			}
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
}
