// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
)

// keptSection begins what a run does not measure and leaves as it is: it takes another kernel.
const keptSection = "\n## Other tiers\n"

// write writes tables to a file in place of those before, but for the kept section; and that section in place of the one before.
func write(path string, tables []byte) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	at := bytes.Index(before, []byte(keptSection))
	switch {
	case bytes.HasPrefix(tables, []byte(keptSection)) && at >= 0:
		tables = append(before[:at:at], tables...)
	case bytes.HasPrefix(tables, []byte(keptSection)):
		tables = append(before, tables...)
	case at >= 0:
		tables = append(bytes.Clone(tables), before[at:]...)
	}
	return os.WriteFile(path, tables, 0o644) //nolint:gosec // A document.
}
