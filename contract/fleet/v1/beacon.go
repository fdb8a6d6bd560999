// SPDX-License-Identifier: Apache-2.0

// Package fleetv1 is what services say about themselves on the bus.
package fleetv1

import "time"

// Interval is how often an instance says that it lives.
const Interval = 10 * time.Second

// Beacon makes the heartbeats of one instance of a service. Its fields are those that stay while it runs.
type Beacon struct {
	Service, Instance, Node, Version string
	Started                          time.Time
}

// Payload returns an encoded Heartbeat: what the beacon knows, the time now, and what fill adds.
func (b Beacon) Payload(fill func(*Heartbeat)) []byte {
	h := &Heartbeat{
		Service: b.Service, Instance: b.Instance, Node: b.Node, Version: b.Version,
		StartedUnixNano: uint64(b.Started.UnixNano()), TimeUnixNano: uint64(time.Now().UnixNano()), //nolint:gosec // after 1970
	}
	fill(h)
	data, err := h.MarshalVT()
	if err != nil {
		panic(err) // no value of a Heartbeat has an encoding that fails
	}
	return data
}
