// SPDX-License-Identifier: Apache-2.0

package fleetv1_test

import (
	"testing"
	"time"

	fleetv1 "github.com/busbar/busbar/contract/fleet/v1"
)

func TestBeacon(t *testing.T) {
	t.Parallel()
	started := time.Unix(1_700_000_000, 0)
	b := fleetv1.Beacon{Service: "router", Instance: "r-1", Node: "n1", Version: "v1", Started: started}
	data := b.Payload(func(h *fleetv1.Heartbeat) { h.Dropped = map[string]uint64{"filter": 3} })
	var h fleetv1.Heartbeat
	if err := h.UnmarshalVT(data); err != nil {
		t.Fatal(err)
	}
	if h.GetService() != "router" || h.GetInstance() != "r-1" || h.GetNode() != "n1" || h.GetVersion() != "v1" ||
		h.GetStartedUnixNano() != uint64(started.UnixNano()) || h.GetTimeUnixNano() < h.GetStartedUnixNano() || h.GetDropped()["filter"] != 3 {
		t.Errorf("got %v", &h)
	}
}
