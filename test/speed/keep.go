// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"os"
)

// ingestSection begins what `make bench-ingest` writes, and the comparison of pipelines leaves as it is.
const ingestSection = "\n## Taking data in\n"

// write writes a page in place of the one before, but for the section of the other measurement.
func write(path string, text []byte) error {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	page, section, _ := bytes.Cut(before, []byte(ingestSection))
	if rest, ok := bytes.CutPrefix(text, []byte(ingestSection)); ok {
		section = rest
	} else {
		page = text
	}
	if len(section) > 0 {
		page = append(append(bytes.Clone(page), ingestSection...), section...)
	}
	return os.WriteFile(path, page, 0o644) //nolint:gosec // A document.
}
