// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"errors"
	"strings"

	"github.com/busbar/busbar/contract/subject"
)

// glob matches one token of a subject: "*" stands for any characters, "?" for one, anything else for itself. Since a token
// is a name whose unusual characters became '_', the same is done to the glob: "shop.eu" and "shop_eu" match both names.
// An empty glob matches what has no name.
type glob string

func newGlob(text string) (glob, error) {
	if strings.ContainsAny(text, `[]{}\`) {
		return "", errors.New(`a glob has no more than "*" and "?"`)
	}
	if text == "" {
		return glob(subject.Token("")), nil
	}
	token := []byte(subject.Token(text))
	for i := range token {
		if text[i] == '*' || text[i] == '?' {
			token[i] = text[i]
		}
	}
	return glob(token), nil
}

// match tries the shortest stretch for a "*" first, and gives the last one more when what follows does not fit.
func (g glob) match(token string) bool {
	i, star, mark := 0, -1, 0
	for j := 0; j < len(token); {
		switch {
		case i < len(g) && g[i] == '*':
			star, mark = i, j
			i++
		case i < len(g) && (g[i] == '?' || g[i] == token[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(string(g[i:]), "*") == ""
}

// globs match if there are none, or one of them does.
type globs []glob

func (gs globs) match(token string) bool {
	for _, g := range gs {
		if g.match(token) {
			return true
		}
	}
	return len(gs) == 0
}
