// SPDX-License-Identifier: Apache-2.0

// Package contract is what crosses the bus: the protobuf messages (event/v1, config/v1, fleet/v1), and the subjects and
// streams that carry them (subject). It depends on the protobuf runtime and nothing else, so anyone may import it.
package contract

// UserAgent begins the User-Agent of every request that Busbar makes to a back end, over whichever protocol; the version
// follows. Probes leave exchanges out that carry it: telemetry about the sending of telemetry would never end.
const UserAgent = "busbar/"
