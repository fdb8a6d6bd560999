// SPDX-License-Identifier: Apache-2.0

package enricher

import "github.com/busbar/busbar/kit/bus"

// Handler returns what an enricher does with a batch, for a test that ends it at a moment of its choice.
func Handler(b *bus.Bus) bus.Handler {
	e := newEnricher(Default())
	e.bus = b
	return e.enrich
}
