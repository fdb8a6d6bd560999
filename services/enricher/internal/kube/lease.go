// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"time"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
)

// lease is who watches, as was last heard.
type lease struct {
	*kubev1.Watcher
	sequence uint64
	heard    time.Time // by this process's clock, when the beat last moved
}

// hear takes in what a watcher says of itself.
func (d *Directory) hear(w *kubev1.Watcher, sequence uint64, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := w.GetComplete() != d.watcher.GetComplete() || w.GetCluster() != d.watcher.GetCluster()
	d.watcher = lease{w, sequence, now}
	if news {
		d.touch()
	}
}
