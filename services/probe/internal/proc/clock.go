// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
)

// tick is the unit of times in /proc/PID/stat. USER_HZ is 100 on every architecture that Linux ABIs fix it for.
const tick = 10_000_000

// bootTime returns the boot of the machine in nanoseconds since the Unix epoch, to the second. It identifies processes across
// runs of the probe, so it is the kernel's own figure (btime), which does not wander as a measured offset would.
func bootTime(root string) (uint64, error) {
	path := filepath.Join(root, "stat")
	data, err := readBounded(path, 1<<20)
	if err != nil {
		return 0, err
	}
	for line := range bytes.SplitSeq(data, []byte{'\n'}) {
		if value, ok := bytes.CutPrefix(line, []byte("btime ")); ok {
			seconds, err := strconv.ParseUint(string(value), 10, 32)
			if err != nil {
				return 0, fmt.Errorf("parse btime of %s: %w", path, err)
			}
			return seconds * 1e9, nil
		}
	}
	return 0, fmt.Errorf("parse %s: %w", path, errors.New("no btime"))
}

// startUnix converts a start time since boot to the Unix time that names the process. It is cut to ticks, so that the kernel's
// records and /proc/PID/stat agree.
func (t *Table) startUnix(bootNanos uint64) uint64 { return t.boot + bootNanos/tick*tick }
