// SPDX-License-Identifier: Apache-2.0

package enricher

import (
	"github.com/busbar/busbar/kit/bus"
	"github.com/busbar/busbar/services/enricher/internal/peer"
)

// Handler returns what an enricher does with a batch, for a test that ends it at a moment of its choice.
func Handler(b *bus.Bus) bus.Handler {
	e := newEnricher(Default())
	e.bus, e.peers = b, peer.New(nil)
	return e.enrich
}
