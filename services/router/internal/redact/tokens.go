// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// tokens masks credentials that let in whoever bears them: what follows the word Bearer, if it has 8 characters or more; what
// follows Basic, if it is a user and a password; and JSON Web Tokens (JWS and JWE) wherever they stand.
func tokens(text string) (string, int) {
	var out masking
	for i := 0; i < len(text); {
		switch text[i] {
		case 'e':
			length, secret := jwt(text[i:])
			if secret {
				out.mask(text, i, i+length)
			}
			i += max(length, 1)
		case 'b', 'B':
			from, to := credentials(text[i:])
			if to > from {
				out.mask(text, i+from, i+to)
			}
			i += max(to, 1)
		default:
			i++
		}
	}
	return out.result(text)
}

// credentials returns where the credentials are in a text that begins with their scheme; nothing if it does not.
func credentials(text string) (from, to int) {
	for _, s := range schemes() {
		if from := after(text, s.word); from > 0 {
			if to := from + run(text[from:], tokenByte); s.secret(text[from:to]) {
				return from, to
			}
		}
	}
	return 0, 0
}

// scheme is one of HTTP's authentication schemes.
type scheme struct {
	word   string // in lower case
	secret func(credentials string) bool
}

func schemes() [2]scheme { return [...]scheme{{"bearer", bearer}, {"basic", basic}} }

func bearer(credentials string) bool { return len(credentials) >= 8 }

func basic(credentials string) bool {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(credentials, "="))
	return err == nil && bytes.IndexByte(decoded, ':') >= 0
}

// mayHaveTokens tells whether text has a word that tokens looks for. What it says of a text it says of all that the text is part of.
func mayHaveTokens(text string) bool {
	if strings.Contains(text, jwtBegin) {
		return true
	}
	for _, b := range [...]byte{'b', 'B'} {
		for i := 0; ; i++ {
			next := strings.IndexByte(text[i:], b)
			if next < 0 {
				break
			}
			i += next
			for _, s := range schemes() {
				if after(text[i:], s.word) > 0 {
					return true
				}
			}
		}
	}
	return false
}

// after returns the length of a word in any case and the space behind it (as it is or as URLs have it) that text begins with, 0 if
// it does not.
func after(text, word string) (n int) {
	if len(text) <= len(word) || !strings.EqualFold(text[:len(word)], word) {
		return 0
	}
	for n = len(word); n < len(text); {
		switch {
		case text[n] == ' ', text[n] == '\t':
			n++
		case strings.HasPrefix(text[n:], "%20"):
			n += len("%20")
		default:
			if n > len(word) {
				return n
			}
			return 0
		}
	}
	return 0
}

// jwtBegin is how the first part of a token begins: a JSON object in base64.
const jwtBegin = "eyJ"

// jwt tells whether text begins with a JSON Web Token: one part and at most four more, not all empty, behind dots. The length is
// that of the token, or else of what no token begins in.
func jwt(text string) (length int, secret bool) {
	if !strings.HasPrefix(text, jwtBegin) {
		return 0, false
	}
	length = run(text, partByte)
	end := length
	for range 4 {
		if end == len(text) || text[end] != '.' {
			break
		}
		end++
		if part := run(text[end:], partByte); part > 0 {
			end += part
			length, secret = end, true
		}
	}
	return length, secret
}

// run returns the length of the row of such bytes that text begins with.
func run(text string, of func(byte) bool) (n int) {
	for n < len(text) && of(text[n]) {
		n++
	}
	return n
}

// tokenByte tells what may stand in credentials (RFC 9110, token68).
func tokenByte(c byte) bool { return partByte(c) || strings.IndexByte(".~+/=", c) >= 0 }

// partByte tells what may stand in base64 for URLs.
func partByte(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || digit(c) || c == '-' || c == '_'
}
