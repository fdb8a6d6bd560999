// SPDX-License-Identifier: Apache-2.0

package redact

import "strings"

// emails masks e-mail addresses: a local part without quotes, "@" as it is or as URLs have it (%40), and a domain with a dot whose
// last part has two letters or more. Letters of any script count. An address is taken as far as it may go on both sides.
func emails(text string) (string, int) {
	var out masking
	for i := 0; ; {
		next := strings.IndexAny(text[i:], "@%")
		if next < 0 {
			return out.result(text)
		}
		at := i + next
		i = at + 1
		if text[at] == '%' {
			if !strings.HasPrefix(text[at:], atEscaped) {
				continue
			}
			i = at + len(atEscaped)
		}
		if length := domain(text[i:]); length > 0 {
			from := local(text, out.copied, at)
			i += length
			if from < at {
				out.mask(text, from, i)
			}
		}
	}
}

// atEscaped is an "@" in a URL.
const atEscaped = "%40"

// mayHaveEmails tells whether text has an address. What it says of a text it says of all that the text is part of.
func mayHaveEmails(text string) bool {
	for _, sign := range [...]string{"@", atEscaped} {
		for i := 0; ; i += len(sign) {
			at := strings.Index(text[i:], sign)
			if at < 0 {
				break
			}
			i += at
			if i > 0 && localByte(text[i-1]) && domain(text[i+len(sign):]) > 0 {
				return true
			}
		}
	}
	return false
}

// local returns where the local part begins that ends before text[at]; at if there is none.
func local(text string, from, at int) int {
	begin := at
	for begin > from && localByte(text[begin-1]) {
		begin--
	}
	for begin < at && text[begin] == '\'' { // the address is quoted
		begin++
	}
	return begin
}

// domain returns the length of the domain that text begins with; 0 if it is none.
func domain(text string) (length int) {
	end := 0
	for end < len(text) && (domainByte(text[end]) || text[end] == '.' && end > 0 && text[end-1] != '.') {
		end++
	}
	for end > 0 && (text[end-1] == '.' || text[end-1] == '-') {
		end--
	}
	for i := 1; i+2 < end; i++ {
		if text[i] == '.' && letter(text[i+1]) && letter(text[i+2]) {
			return end
		}
	}
	return 0
}

func letter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c >= 0x80 }

func domainByte(c byte) bool { return letter(c) || digit(c) || c == '-' }

// localByte tells what may stand in a local part without quotes, less the signs that part a query, a path or a list.
func localByte(c byte) bool { return letter(c) || digit(c) || strings.IndexByte("%'+-._~", c) >= 0 }
