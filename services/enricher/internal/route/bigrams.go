// SPDX-License-Identifier: Apache-2.0

package route

// bigrams says how surprising one letter is after another in English, in half bits: 'a' is 0, 'z' is 25 (12.5 bits). A row is
// what went before (a word's start, then a to z), a column what comes next (a to z, then a word's end). Counted over
// the 73,133 words of three or more letters a to z in Debian's wamerican 2020.12.07 (public domain), half a count added to each
// pair: -2*log2((pairs+0.5)/(rows+13.5)), rounded.
var bigrams = [27]string{ //nolint:gochecknoglobals // constant
	"iihijjkjjnnkillhpigjlmkuqrz", // start
	"ujijqokpkumgjgtktgiflmnqmpj", // a
	"gjrqftxsgqyfqrguzhkohttznzm", // b
	"gxmwhzygizhjwwfxsinijzzznwk", // c
	"jqrlfrmqgrxlpqjsykjskqpznwd", // d
	"jokglnnqnusjlhomrffjqnomosg", // e
	"hsuvghvtfxwhvugvzhmjhzwzlzl", // f
	"itzugtkjiywjpljuzikqjzsznwd", // g
	"fptseqwsfwunnoftykljjzpzkyi", // h
	"jmikhmkvuwqikeimskhiqkwrykn", // i
	"exxxfuxxhxuxxxeuxusxexuxxxp", // j
	"insqepsmftpjokkpzmgpmzozkzg", // k
	"gppmfpqtfzogorhpztklkpuxhyi", // l
	"fjpvfqzufzzqjoghxsjvjvuzozi", // m
	"iqjihnfqismprlkrsqhgnosvpth", // n
	"llkknnkqluniifjjtgjjhkkporl", // o
	"gsttftvihyuhrsgizgjkjztzozk", // p
	"qtwwwwwwpwwqwwtwwwtwawtwwwo", // q
	"gnmkfpmqgunnllhnvlhjkorzlwh", // r
	"ksktisujixommolkquigkvozozd", // s
	"hrnvfquifyxlqrisziikkxpzlrg", // t
	"jkjkjnkujuqhifojxgghvrwrtqo", // u
	"fyxucyxwezzszxhxzsrvnrzzpzn", // v
	"ensmfqsifzokqjgpzjjprzszptj", // w
	"ithxgttkfxxrstkgtttgknqmlug", // x
	"knlnjqoqjvslllmkzminpvosxrb", // y
	"grutczwofzskqrjrwusrnrrzmij", // z
}

// surprise is the mean surprise per step, in half bits, from which a word is no language. Of words in real API paths 1.6 %
// are above it, most of them named in jargon; of random words 87 % with five letters, 95 % with eight, 98 % with twelve.
const surprise = 10

// shortWord is the length up to which a word tells nothing: abbreviations look like noise.
const shortWord = 4

// language tells whether a lower- or upper-case word of letters reads like one. It assumes that w has only ASCII letters.
func language(w string) bool {
	if len(w) <= shortWord {
		return true
	}
	row, sum := 0, 0
	for i := range len(w) {
		c := int(w[i] | 0x20 - 'a')
		sum += int(bigrams[row][c] - 'a')
		row = c + 1
	}
	sum += int(bigrams[row][26] - 'a')
	return sum <= surprise*(len(w)+1) || isJargon(w)
}

// isJargon tells whether w is one of jargon, in any case.
func isJargon(w string) bool {
	if len(w) > maxJargon {
		return false
	}
	var lower [maxJargon]byte
	for i := range len(w) {
		lower[i] = w[i]
		if isUpper(w[i]) {
			lower[i] |= 0x20
		}
	}
	return jargon[string(lower[:len(w)])]
}

// maxJargon is the length of the longest word of jargon.
const maxJargon = 10

// jargon is what paths of programs say that the table takes for noise, or that has digits and is no id.
var jargon = map[string]bool{ //nolint:gochecknoglobals // constant
	"2fa": true, "base64": true, "e2e": true, "graphql": true, "http2": true, "i18n": true, "ipv4": true, "ipv6": true, "jsonrpc": true,
	"jwks": true, "k8s": true, "kafka": true, "l10n": true, "log4j": true, "md5": true, "mp3": true, "mp4": true, "mysql": true,
	"oauth1": true, "oauth2": true, "php7": true, "phpmyadmin": true, "pgsql": true, "sha1": true, "sha256": true, "sqlite3": true,
	"utf8": true, "web3": true, "woff2": true, "x509": true, "xhtml": true, "xmlrpc": true,
}
