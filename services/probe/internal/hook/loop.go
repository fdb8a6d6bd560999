// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"io"
	"path"
)

// Loop hooks the event loop of Node.js: attach is told where in the executable the function is.
func Loop(function string, attach func(path string, offset uint64) (io.Closer, error)) Kind {
	return Kind{
		Wanted: func(file string, executable bool) bool {
			return executable && (path.Base(file) == "node" || path.Base(file) == "nodejs")
		},
		Attach: func(file string) (io.Closer, error) {
			found, err := Places(file, []string{function})
			if err != nil || found[function] == 0 {
				return nil, err // without symbols, or with a loop that is a library of its own
			}
			return attach(file, found[function])
		},
	}
}
