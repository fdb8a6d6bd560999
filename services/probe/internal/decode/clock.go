// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Clock converts the kernel's time since boot to Unix time. It holds the distance of the two clocks at one moment: take a new one
// now and then, for the wall clock is adjusted and set.
type Clock struct{ offset uint64 }

// Now returns the clock as it is now.
func Now() (Clock, error) {
	// The reading of the wall clock that is enclosed the closest by two readings of the other one is the best of a few.
	best, closest := Clock{}, int64(-1)
	for range 3 {
		before, err := read(unix.CLOCK_BOOTTIME)
		if err != nil {
			return Clock{}, err
		}
		wall, err := read(unix.CLOCK_REALTIME)
		if err != nil {
			return Clock{}, err
		}
		after, err := read(unix.CLOCK_BOOTTIME)
		if err != nil {
			return Clock{}, err
		}
		if gap := after - before; closest < 0 || gap < closest {
			best, closest = Clock{offset: uint64(wall - before - gap/2)}, gap
		}
	}
	return best, nil
}

// Unix returns the Unix time in nanoseconds of a time since boot in nanoseconds.
func (c Clock) Unix(boot uint64) uint64 { return boot + c.offset }

func read(clock int32) (int64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read clock %d: %w", clock, err)
	}
	return t.Nano(), nil
}
