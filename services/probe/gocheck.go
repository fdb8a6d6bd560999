// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/busbar/busbar/services/probe/internal/goexe"
)

// lostGo says which running Go programs cannot be followed, and why, once for each executable.
func lostGo(root string) []string {
	links, _ := filepath.Glob(filepath.Join(cmp.Or(root, "/proc"), "[0-9]*", "exe"))
	seen := map[string]bool{}
	var out []string
	for _, link := range links {
		name, err := os.Readlink(link)
		if err != nil || seen[name] {
			continue // a kernel thread, or it has ended
		}
		seen[name] = true
		if err := readGo(link); err != nil {
			out = append(out, fmt.Sprintf("traces through %s: its goroutines cannot be followed: %v", name, err))
		}
	}
	return out
}

func readGo(link string) error {
	f, err := os.Open(link)
	if err != nil {
		return nil //nolint:nilerr // not one that we may look into, which the report says elsewhere
	}
	defer f.Close()
	if _, err := goexe.Read(f); err != nil && !errors.Is(err, goexe.ErrNotGo) {
		return err
	}
	return nil
}
