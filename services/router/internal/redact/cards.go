// SPDX-License-Identifier: Apache-2.0

package redact

// Lengths of card numbers in digits, as in ISO/IEC 7812.
const (
	shortest = 13
	longest  = 19
)

// cards masks payment card numbers: 13 to 19 digits, grouped or not by single spaces or hyphens, that pass the Luhn check.
// Groups of digits beside one stay, and a longer row of digits without a gap is something else.
func cards(text string) (string, int) {
	var out masking
	for i := 0; i+shortest <= len(text); {
		if !digit(text[i]) {
			i++
			continue
		}
		if n := card(text[i:]); n > 0 {
			out.mask(text, i, i+n)
			i += n
			continue
		}
		for i < len(text) && digit(text[i]) {
			i++
		}
	}
	return out.result(text)
}

// mayHaveCards tells whether text has a row of digits that is long enough, be the check digit as it may. What it says of a
// text it says of all that the text is part of. It looks at few bytes only: a row of 13 digits with single gaps has a digit or a
// gap at every place, and so at one in 13.
func mayHaveCards(text string) bool {
	for i := shortest - 1; i < len(text); i += shortest {
		if !digit(text[i]) && !gap(text[i]) {
			continue
		}
		from, to := i, i
		for from > 0 && (digit(text[from-1]) || gap(text[from-1])) {
			from--
		}
		for to < len(text) && (digit(text[to]) || gap(text[to])) {
			to++
		}
		if digits(text[from:to]) >= shortest {
			return true
		}
		i = to
	}
	return false
}

func digits(text string) (n int) {
	for i := range len(text) {
		if digit(text[i]) {
			n++
		}
	}
	return n
}

// card returns the length in bytes of the longest card number that text begins with, at the first digit of a group; 0 if
// there is none.
func card(text string) (length int) {
	digits := 0
	var sums [2]int // Luhn sums if the digits at even, and at odd, places are the doubled ones
	for i := range len(text) {
		c := text[i]
		if !digit(c) {
			grouped := gap(c) && i+1 < len(text) && digit(text[i+1])
			if !grouped || digits == longest {
				break
			}
			continue
		}
		if digits++; digits > longest {
			break
		}
		value := int(c - '0')
		twice := 2 * value
		if twice > 9 {
			twice -= 9
		}
		place := (digits - 1) % 2
		sums[place] += twice
		sums[1-place] += value
		groupEnds := i+1 == len(text) || !digit(text[i+1])
		// The last digit is not doubled, the one before it is: those whose place has the parity of the length.
		if groupEnds && digits >= shortest && sums[digits%2]%10 == 0 {
			length = i + 1
		}
	}
	return length
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func gap(c byte) bool { return c == ' ' || c == '-' }
