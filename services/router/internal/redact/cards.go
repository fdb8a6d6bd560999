// SPDX-License-Identifier: Apache-2.0

// Package redact removes payment card numbers from the free text of telemetry. A card number is 13 to 19 digits, grouped
// or not by single spaces or hyphens, that pass the Luhn check. Groups of digits beside it stay, and a longer row of
// digits without a gap is something else.
package redact

import "strings"

// Mask stands where a card number was.
const Mask = "****"

// Lengths of card numbers in digits, as in ISO/IEC 7812.
const (
	shortest = 13
	longest  = 19
)

// Cards returns text with a Mask for each card number, and whether there was any. It allocates only then.
func Cards(text string) (string, bool) {
	var out strings.Builder
	copied := 0
	for i := 0; i+shortest <= len(text); {
		if !digit(text[i]) {
			i++
			continue
		}
		if n := card(text[i:]); n > 0 {
			out.WriteString(text[copied:i])
			out.WriteString(Mask)
			i += n
			copied = i
			continue
		}
		for i < len(text) && digit(text[i]) {
			i++
		}
	}
	if copied == 0 {
		return text, false
	}
	out.WriteString(text[copied:])
	return out.String(), true
}

// card returns the length in bytes of the longest card number that text begins with, at the first digit of a group; 0 if
// there is none.
func card(text string) (length int) {
	digits := 0
	var sums [2]int // Luhn sums if the digits at even, and at odd, places are the doubled ones
	for i := range len(text) {
		c := text[i]
		if !digit(c) {
			grouped := (c == ' ' || c == '-') && i+1 < len(text) && digit(text[i+1])
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
