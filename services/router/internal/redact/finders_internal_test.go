// SPDX-License-Identifier: Apache-2.0

package redact

import (
	"strings"
	"testing"
)

type textTest struct{ name, text, want string }

// try runs a finder on texts, and holds what it says beforehand to what it finds, also of a text that has the one in it.
func try(t *testing.T, f finder, tests []textTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, n := f.mask(test.text)
			if got != test.want || (n > 0) != (test.text != test.want) {
				t.Errorf("got %q with %d, want %q", got, n, test.want)
			}
			for _, around := range []string{"", "1", "a", "-.\xff@"} {
				if n > 0 && !f.may(around+test.text+around) {
					t.Errorf("%q is said to have none", around+test.text+around)
				}
			}
		})
	}
}

func TestCards(t *testing.T) {
	t.Parallel()
	try(t, finder{kindCard, mayHaveCards, cards}, []textTest{
		{"nothing", "", ""},
		{"plain", "4111111111111111", "****"},
		{"in a sentence", "paid with 4111111111111111.", "paid with ****."},
		{"spaces", "4111 1111 1111 1111", "****"},
		{"hyphens", "4111-1111-1111-1111", "****"},
		{"american express", "3782 822463 10005", "****"},
		{"thirteen digits", "4222222222222", "****"},
		{"nineteen digits", "6304000000000000000", "****"},
		{"beside letters", "PAN4111111111111111x", "PAN****x"},
		{"in a query", "card=4111111111111111&exp=1230", "card=****&exp=1230"},
		{"two", "4111111111111111,5500005555555559", "****,****"},
		{"expiry in a group behind", "4111 1111 1111 1111 12 30", "**** 12 30"},
		{"group in front", "7 4111 1111 1111 1111", "7 ****"},
		{"two in one row of groups", "4111 1111 1111 1111 5500 0055 5555 5559", "**** ****"},
		{"wrong check digit", "4111111111111112", "4111111111111112"},
		{"twelve digits", "411111111116", "411111111116"},
		{"twenty digits", "41111111111111110000", "41111111111111110000"},
		{"two gaps", "4111  1111  1111  1111", "4111  1111  1111  1111"},
		{"other separator", "4111.1111.1111.1111", "4111.1111.1111.1111"},
		{"gap at the end", "4111111111111111 ", "**** "},
		{"beside other scripts", "№4111111111111111号", "№****号"},
	})
}

func TestEmails(t *testing.T) {
	t.Parallel()
	try(t, finder{kindEmail, mayHaveEmails, emails}, []textTest{
		{"nothing", "", ""},
		{"plain", "bob@example.com", "****"},
		{"in a sentence", "mail from bob.smith+tag@mail.example.co.uk.", "mail from ****."},
		{"in brackets", "Bob <bob@example.com>, <eve@example.org>", "Bob <****>, <****>"},
		{"in quotes", "user 'bob@example.com' left", "user '****' left"},
		{"apostrophe", "o'brien@example.com", "****"},
		{"in a query", "/reset?mail=bob@example.com&step=2", "/reset?mail=****&step=2"},
		{"in a path", "GET /users/bob@example.com/orders", "GET /users/****/orders"},
		{"escaped", "mail=bob%40example.com", "mail=****"},
		{"escaped and plain", "a%40b.example c@d.example", "**** ****"},
		{"user of a URL", "https://bob:secret@db.example/x", "https://bob:****/x"},
		{"other scripts", "почта: иван@пример.рф!", "почта: ****!"},
		{"address in digits", "root@10.0.0.1", "root@10.0.0.1"},
		{"host without a dot", "root@localhost", "root@localhost"},
		{"ends in a dot", "root@localhost.", "root@localhost."},
		{"two dots", "root@local..example", "root@local..example"},
		{"short last part", "a@b.c", "a@b.c"},
		{"without a local part", "see @example.com", "see @example.com"},
		{"only quotes before", "''@example.com", "''@example.com"},
		{"image", "logo@2x.png", "****"}, // a file name is no different from an address
		{"two signs", "a@b@example.com", "a@****"},
	})
}

const (
	jws = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
	jwe = "eyJhbGciOiJkaXIifQ..48V1_ALb6US04U3b.5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji.XFBoMYUZodetZdvTiFvSkQ"
)

func TestTokens(t *testing.T) {
	t.Parallel()
	try(t, finder{kindBearer, mayHaveTokens, tokens}, []textTest{
		{"nothing", "", ""},
		{"bearer", "Bearer abcdef0123456789", "Bearer ****"},
		{"any case", "authorization: bEARER abcdef.0123~456+/==", "authorization: bEARER ****"},
		{"in JSON", `{"Authorization":"Bearer abcdefgh"}`, `{"Authorization":"Bearer ****"}`},
		{"escaped space", "Bearer%20abcdefgh&x=1", "Bearer%20****&x=1"},
		{"too short", "bearer of bad news", "bearer of bad news"},
		{"nothing behind", "Bearer ", "Bearer "},
		{"within a word", "forbearer abcdefgh", "forbearer ****"},
		{"basic", "Basic dXNlcjpwYXNz", "Basic ****"},
		{"basic with padding", "Basic dXNlcjpwYXNzd29yZA==, x", "Basic ****, x"},
		{"not base64", "basic configuration loaded", "basic configuration loaded"},
		{"base64 of something else", "Basic aGVsbG8gd29ybGQ=", "Basic aGVsbG8gd29ybGQ="},
		{"signed", "token=" + jws + ";", "token=****;"},
		{"encrypted", jwe, "****"},
		{"at the end of a sentence", "sent " + jws + ". And", "sent ****. And"},
		{"not signed", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0.", "****."},
		{"one part", "eyJhbGciOiJub25lIn0", "eyJhbGciOiJub25lIn0"},
		{"one part and dots", "eyJhbGciOiJub25lIn0...", "eyJhbGciOiJub25lIn0..."},
		{"bearer and signed", "Bearer " + jws, "Bearer ****"},
	})
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		regex, with, has string
		texts            []textTest
	}{
		{`\d{3}-\d{2}-\d{4}`, "", "-", []textTest{{"one", "ssn 123-45-6789.", "ssn ****."}, {"none", "1234-5", "1234-5"}}},
		{`(session=)\w+`, "${1}…", "session=", []textTest{{"two", "session=a;session=b", "session=…;session=…"}}},
		{`(?i)secret`, "x", "", []textTest{{"any case", "a SeCrEt", "a x"}}},
		{`^id-\d+$`, "", "id-", []textTest{{"whole", "id-7", "****"}, {"part", "an id-7", "an id-7"}}},
		{`(foo|bar)+baz?`, "", "ba", []textTest{{"alternatives", "foobarba", "****"}}},
		{`(?:key-){2,}`, "", "key-", []textTest{{"repeated", "key-key-", "****"}}},
	} {
		p, err := newPattern(test.regex, test.with)
		if err != nil {
			t.Fatal(err)
		}
		if p.has != test.has {
			t.Errorf("%s requires %q, want %q", test.regex, p.has, test.has)
		}
		try(t, finder{"own", p.may, p.mask}, test.texts)
	}
}

// A sign is in every text that its glob matches, wherever and in whatever case it is.
func TestSigns(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		glob, text string
		in         bool
	}{
		{"password", "x\x08passWORD\x12", true},
		{"password", "PASSWORD", true},
		{"password", "passwor", false},
		{"password", "assword", false},
		{"*.secret", "Secret", true},
		{"user.password", "\x04user\x08password", true},
		{"*", "", true},
		{"?", "a", true},
		{"a-1", "A-1", true},
		{"1*22", "x22", true},
		{"über", "ÜBER", false}, // only a to z
		{"über", "über", true},
		{"aaab", "aaaab", true},
	} {
		if got := newSign(test.glob).in(test.text); got != test.in {
			t.Errorf("%s in %q: %v", test.glob, test.text, got)
		}
	}
}

func finders() map[string]finder {
	return map[string]finder{
		kindCard:   {kindCard, mayHaveCards, cards},
		kindEmail:  {kindEmail, mayHaveEmails, emails},
		kindBearer: {kindBearer, mayHaveTokens, tokens},
	}
}

// What a finder says of a text beforehand holds, masking a second time finds nothing, and a secret within other text goes
// whatever is around it.
func FuzzFinders(f *testing.F) {
	for _, seed := range []string{"4111 1111 1111 1111 12 30", "3782-822463-10005", "6304000000000000000\xff", "1 2 3 4 5 6 7 8 9 0 1 2 3 4 5",
		"a@b.example", "%40%40a%40", "'@a.bc", "Basic dXNlcjpwYXNz", "bearer  eyJa.b", jws, jwe} {
		f.Add(seed, seed)
	}
	secrets := map[string]string{kindCard: "5500005555555559", kindEmail: "bob.smith@mail.example", kindBearer: jws}
	f.Fuzz(func(t *testing.T, before, after string) {
		for kind, find := range finders() {
			for _, text := range []string{before, before + "\n" + secrets[kind] + "\n" + after} {
				got, n := find.mask(text)
				if (n > 0) != (got != text) && !strings.Contains(text, Mask) {
					t.Fatalf("%s: %q became %q, with %d", kind, text, got, n)
				}
				if n > 0 && !find.may(text) {
					t.Fatalf("%s: %q is said to have none", kind, text)
				}
				if again, more := find.mask(got); more > 0 {
					t.Fatalf("%s: %q became %q and then %q", kind, text, got, again)
				}
			}
			if got, _ := find.mask(before + "\n" + secrets[kind] + "\n" + after); strings.Contains(got, secrets[kind]) && !strings.Contains(before+after, secrets[kind]) {
				t.Fatalf("%s: left in %q", kind, got)
			}
		}
	})
}

// Time grows with the length of a text, whatever it is made of.
func BenchmarkHostile(b *testing.B) {
	for kind, find := range finders() {
		for _, unit := range []string{"@", "%40", "eyJ", "eyJ.", "a@", "basic ", "basic+", "1", "1 ", "a.", "bearer "} {
			text := strings.Repeat(unit, 512<<10/len(unit))
			b.Run(kind+"/"+strings.TrimSpace(unit), func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					find.may(text)
					find.mask(text)
				}
			})
		}
	}
}

func BenchmarkPlainText(b *testing.B) {
	text := strings.Repeat("GET /api/v1/users/12345678 HTTP/1.1 ", 3)
	for kind, find := range finders() {
		b.Run(kind, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				find.mask(text)
			}
		})
	}
}
