// SPDX-License-Identifier: Apache-2.0

package run

import "runtime"

// Headroom lets the heap of a process grow by so many bytes more between two garbage collections, until release is called. A
// service that holds little and moves much would otherwise collect several times a second, a third of its work.
//
// It holds a block of that size which nobody ever writes to. Go, which lets a heap double, counts it, and the system does not, as
// untouched memory is none. Unlike a percentage it does not multiply when a process holds more.
func Headroom(bytes int) (release func()) {
	block := make([]byte, bytes)
	return func() { runtime.KeepAlive(block) }
}
