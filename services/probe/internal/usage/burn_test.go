// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"testing"

	"golang.org/x/sys/unix"
)

// rusage is the CPU time of this process so far, nanoseconds.
func rusage(t *testing.T) uint64 {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return uint64(u.Utime.Nano() + u.Stime.Nano())
}

// burn uses that much CPU time, nanoseconds.
func burn(t *testing.T, nanos uint64) {
	t.Helper()
	x := uint64(1)
	for until := rusage(t) + nanos; rusage(t) < until; {
		for range 1 << 16 {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
	if x == 0 {
		t.Log("the generator has come to zero")
	}
}
