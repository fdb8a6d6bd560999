// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"io"
	"path"
	"strings"
)

// TLS hooks the TLS libraries of processes: as libraries of their own, inside the executable, or inside the runtime of a language.
// functions are the names to look for, and attach hooks those that were found, at their offsets in the file.
func TLS(functions []string, attach func(path string, offsets map[string]uint64) (io.Closer, error)) Kind {
	return Kind{
		Wanted: func(file string, executable bool) bool { return executable || mayHoldTLS(path.Base(file)) },
		Attach: func(file string) (io.Closer, error) {
			found, err := Places(file, functions)
			if err != nil || len(found) == 0 {
				return nil, err
			}
			return attach(file, found)
		},
	}
}

// mayHoldTLS tells by the name of a library whether it is, or may have inside, a TLS library that we know.
func mayHoldTLS(name string) bool {
	for _, begin := range []string{"libssl", "libgnutls", "libnode", "libpython", "_ssl.", "libboringssl"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	return false
}
