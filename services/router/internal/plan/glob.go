// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/services/router/internal/glob"
)

// globs match one token of a subject. They do if there are none, or one of them does.
type globs []string

func (gs globs) match(token string) bool {
	for _, g := range gs {
		if glob.Match(g, token) {
			return true
		}
	}
	return len(gs) == 0
}

// newGlob makes a glob for tokens of one for names. Since a token is a name whose unusual characters became '_', the same is
// done to the glob: "shop.eu" and "shop_eu" match both names. An empty one matches what has no name.
func newGlob(text string) (string, error) {
	if err := glob.Check(text); err != nil || text == "" {
		return subject.Token(""), err
	}
	token := []byte(subject.Token(text))
	for i := range token {
		if text[i] == '*' || text[i] == '?' {
			token[i] = text[i]
		}
	}
	return string(token), nil
}
