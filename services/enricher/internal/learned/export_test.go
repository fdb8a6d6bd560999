// SPDX-License-Identifier: Apache-2.0

package learned

import (
	"context"
	"time"
)

// Renew does what a keeper does every hour, as if it were later.
func (k *Keeper) Renew(ctx context.Context, later time.Duration) {
	k.renew(ctx, time.Now().Add(later-renewAfter))
}

// RenewAfter is how old a shape in use may get.
const RenewAfter = renewAfter
