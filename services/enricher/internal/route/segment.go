// SPDX-License-Identifier: Apache-2.0

package route

// wildcard stands for a segment that is a value and not a name.
const wildcard = "*"

// isName tells whether a segment of a path looks like a name that a programmer chose, rather than a value that a user
// brought: an id, a date, a hash, an e-mail address, a file name with a digest. Names are words of letters that read like
// language, parted by '-', '_', '.' or a change to upper case; a version (v1, v2beta3, v1.4); and the words of jargon.
func isName(segment string) bool {
	if isNumber(segment) { // which is what values are most of the time
		return false
	}
	if isVersion(segment) || isJargon(segment) {
		return true
	}
	words, letters := 0, 0
	for start := 0; start < len(segment); {
		end := wordEnd(segment, start)
		if end == start {
			if !isSeparator(segment[start]) {
				return false
			}
			start++
			continue
		}
		word := segment[start:end]
		if !isWord(word) {
			return false
		}
		words, letters, start = words+1, letters+len(word), end
	}
	return words > 0 && (words < manyWords || letters*2 >= words*5)
}

// manyWords is the number of words from which they must have two and a half letters on average: aGVsbGVnYW falls into words
// like no one writes, getUserById does not.
const manyWords = 4

func isWord(w string) bool {
	if isLetters(w) {
		return language(w)
	}
	return isShortCode(w) || isJargon(w)
}

// wordEnd returns the end of the word of letters and digits that begins at start. In getHTTPServer, get and HTTP end words.
func wordEnd(s string, start int) int {
	i := start
	for ; i < len(s) && (isLetter(s[i]) || isDigit(s[i])); i++ {
		if i > start && isUpper(s[i]) && (isLower(s[i-1]) || i+1 < len(s) && isLower(s[i+1])) {
			break
		}
	}
	return i
}

// isShortCode tells whether word is a letter and a digit, such as s3, h2 or v1.
func isShortCode(word string) bool { return len(word) == 2 && isLetter(word[0]) && isDigit(word[1]) }

// isVersion tells whether s is v and up to three digits, perhaps followed by more such numbers after dots, or by alpha, beta or
// rc and a digit.
func isVersion(s string) bool {
	if len(s) < 2 || s[0]|0x20 != 'v' {
		return false
	}
	rest, ok := number(s[1:])
	for ok && len(rest) > 1 && rest[0] == '.' {
		rest, ok = number(rest[1:])
	}
	if !ok {
		return false
	}
	for _, stage := range [...]string{"alpha", "beta", "rc"} {
		if len(rest) >= len(stage) && rest[:len(stage)] == stage {
			rest = rest[len(stage):]
			return rest == "" || len(rest) == 1 && isDigit(rest[0])
		}
	}
	return rest == ""
}

// number cuts one to three digits off the front of s.
func number(s string) (rest string, ok bool) {
	n := 0
	for n < len(s) && n < 3 && isDigit(s[n]) {
		n++
	}
	return s[n:], n > 0
}

func isNumber(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

func isLetters(s string) bool {
	for i := range len(s) {
		if !isLetter(s[i]) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool    { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isLower(c byte) bool     { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool     { return 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool     { return '0' <= c && c <= '9' }
func isSeparator(c byte) bool { return c == '-' || c == '_' || c == '.' || c == '~' }
