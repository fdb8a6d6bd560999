// SPDX-License-Identifier: Apache-2.0

// Package glob matches names: "*" stands for any characters, also none, "?" for one, anything else for itself.
package glob

import (
	"errors"
	"strings"
)

// Check returns an error for a text that looks like a glob of another kind.
func Check(glob string) error {
	if strings.ContainsAny(glob, `[]{}\`) {
		return errors.New(`a glob has no more than "*" and "?"`)
	}
	return nil
}

// Match tells whether a name matches a glob, byte for byte. It tries the shortest stretch for a "*" first, and gives the last
// one more when what follows does not fit.
func Match(glob, name string) bool {
	i, star, mark := 0, -1, 0
	for j := 0; j < len(name); {
		switch {
		case i < len(glob) && glob[i] == '*':
			star, mark = i, j
			i++
		case i < len(glob) && (glob[i] == '?' || glob[i] == name[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(glob[i:], "*") == ""
}
