// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/busbar/busbar/test/internal/child"
)

// sample is what the probe takes at a moment.
type sample struct {
	resident int // KiB
	maps     int // KiB of its kernel maps (memlock of /proc/PID/fdinfo)
	files    int
}

func (s sample) String() string {
	return fmt.Sprintf("resident %.1f MiB, kernel maps %.1f MiB, %d files", float64(s.resident)/1024, float64(s.maps)/1024, s.files)
}

func sampleOf(pid int) (s sample, err error) {
	if s.resident, err = child.ResidentKiB(pid); err != nil {
		return s, err
	}
	infos, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	if err != nil {
		return s, err
	}
	s.files = len(infos)
	for _, info := range infos {
		text, err := os.ReadFile(info) //nolint:gosec // A path below /proc.
		if err != nil {
			continue // Closed meanwhile.
		}
		s.maps += mapBytes(string(text)) >> 10
	}
	return s, nil
}

// mapBytes returns the memory of the map that a descriptor stands for, 0 if it is none.
func mapBytes(info string) int {
	if !strings.Contains(info, "map_type:") {
		return 0
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "memlock:"); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(rest)) //nolint:errcheck // The kernel writes a number.
			return n
		}
	}
	return 0
}

// flat compares the second quarter of the samples with the last one: the first is the time in which caches fill.
func flat(samples []sample) error {
	quarter := len(samples) / 4
	if quarter == 0 {
		return errors.New("too short to tell whether memory is flat")
	}
	early, late := samples[quarter:2*quarter], samples[len(samples)-quarter:]
	check := func(what string, allowed int, of func(sample) int) error {
		if before, after := median(early, of), median(late, of); after > before+allowed {
			return fmt.Errorf("%s grew from %d to %d", what, before, after)
		}
		return nil
	}
	return errors.Join(
		check("resident memory (KiB)", 4<<10, func(s sample) int { return s.resident }),
		check("memory of kernel maps (KiB)", 1<<10, func(s sample) int { return s.maps }),
		check("the number of open files", 4, func(s sample) int { return s.files }),
	)
}

func median(samples []sample, of func(sample) int) int {
	var v []int
	for _, s := range samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v[len(v)/2]
}
