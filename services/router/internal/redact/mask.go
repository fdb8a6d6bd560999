// SPDX-License-Identifier: Apache-2.0

package redact

import "strings"

// Mask stands where a secret was.
const Mask = "****"

// masking builds a text with masks in it. It allocates only if there is any.
type masking struct {
	out    strings.Builder
	copied int // bytes of the original that are in out, or masked
	masks  int
}

// mask puts a Mask in the place of text[from:to]. Places come in order.
func (m *masking) mask(text string, from, to int) {
	m.out.WriteString(text[m.copied:from])
	m.out.WriteString(Mask)
	m.copied = to
	m.masks++
}

// result is the text with its masks, and how many there are.
func (m *masking) result(text string) (string, int) {
	if m.masks == 0 {
		return text, 0
	}
	m.out.WriteString(text[m.copied:])
	return m.out.String(), m.masks
}
