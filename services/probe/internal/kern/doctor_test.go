// SPDX-License-Identifier: Apache-2.0

package kern

import "testing"

func TestDoctor(t *testing.T) {
	reports, err := Doctor()
	if err != nil {
		t.Skip(err)
	}
	works := 0
	for _, r := range reports {
		k, err := Load(Options{Tier: r.Name, DefaultIgnore: true})
		if r.Works != (err == nil) || r.Works != (r.Reason == "") {
			t.Errorf("tier %s loads with error %v, but the report says %+v", r.Name, err, r)
		}
		if err != nil {
			continue
		}
		works++
		lost := 0
		for _, h := range r.Hooks {
			if h.Use == "" || h.Works != (h.Reason == "") {
				t.Errorf("tier %s: %+v", r.Name, h)
			}
			if !h.Works {
				lost++
			}
		}
		if lost != len(k.Degraded()) {
			t.Errorf("tier %s loads, degraded by %v, but the report says %+v", r.Name, k.Degraded(), r)
		}
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	}
	if works == 0 {
		t.Errorf("no tier works: %+v", reports)
	}
}
