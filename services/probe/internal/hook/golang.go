// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"io"
	"os"

	"github.com/busbar/busbar/services/probe/internal/goexe"
)

// Go hooks functions of programs written in Go, as attach does. A program that cannot be read is left alone.
func Go(attach func(path string, p *goexe.Program) (io.Closer, error)) Kind {
	return Kind{
		Wanted: func(_ string, executable bool) bool { return executable },
		Attach: func(path string) (io.Closer, error) {
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			p, err := goexe.Read(f)
			if errors.Is(err, goexe.ErrNotGo) {
				return nil, nil
			}
			if err != nil || len(p.Funcs) == 0 {
				return nil, err
			}
			return attach(path, p)
		},
	}
}
