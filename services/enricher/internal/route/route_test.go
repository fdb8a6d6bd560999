// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/services/enricher/internal/route"
)

func service(t testing.TB, rules ...*configv1.RouteRules) *route.Service {
	t.Helper()
	book, problems := route.NewBook(rules)
	for _, p := range problems {
		if len(p) > 0 {
			t.Fatal(p)
		}
	}
	return route.New(book, nil).Service("shop", "shop", route.Server)
}

func TestHeuristic(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/":                 "/",
		"//":                "/",
		"/factorial/123":    "/factorial/*",
		"/users/42/orders/": "/users/*/orders",
		"/users/0d5a3a3e-6a55-4a6c-8a0c-9c6d0a7b1c2d":     "/users/*",
		"/blob/9f86d081884c7d659a2feaa0c55ad015":          "/blob/*",
		"/report/2024-02-29/summary":                      "/report/*/summary",
		"/user/jane.doe@example.com":                      "/user/*",
		"/user/jane%40example.com/avatar":                 "/user/*/avatar",
		"/t/xkqzvwjhpt":                                   "/t/*",
		"/t/aGVsbGVnYWxqdQ":                               "/t/*",
		"/v1/users":                                       "/v1/users",
		"/api/v2beta1/pods":                               "/api/v2beta1/pods",
		"/api/v1.41/containers/json":                      "/api/v1.41/containers/json",
		"/api/v1234/x":                                    "/api/*/x",
		"/vendor/list":                                    "/vendor/list",
		"/oauth2/token":                                   "/oauth2/token",
		"/OAuth2/token":                                   "/OAuth2/token",
		"/s3/bucket-list":                                 "/s3/bucket-list",
		"/getUserById/7":                                  "/getUserById/*",
		"/PaymentService/ChargeHTTPRequest":               "/PaymentService/ChargeHTTPRequest",
		"/static/jquery.min.js":                           "/static/jquery.min.js",
		"/static/main.3f2a9c1b.js":                        "/static/*",
		"/wp-admin/admin-ajax.php":                        "/wp-admin/admin-ajax.php",
		"/.well-known/jwks.json":                          "/.well-known/jwks.json",
		"/xmlrpc.php":                                     "/xmlrpc.php",
		"/cart;jsessionid=8A3F/items":                     "/cart/items",
		"/graphql":                                        "/graphql",
		"/phpMyAdmin":                                     "/phpMyAdmin",
		"/kafka/topics/orders-dlq":                        "/kafka/topics/orders-dlq",
		"/straße/münchen":                                 "/*/*",
		"/-/_/.":                                          "/*/*/*",
		"/a/b/c/d/e/f/g/h/i/j/k/l/m":                      "/a/b/c/d/e/f/g/h/i/j/*",
		"/repos/" + strings.Repeat("name/", 9):            "/repos" + strings.Repeat("/name", 9),
		"/emails/1/attachments/2/pages/3":                 "/emails/*/attachments/*/pages/*",
		"/status/404":                                     "/status/*",
		"/item42":                                         "/*",
		"/x/\x00\xff":                                     "/x/*",
		"/rolldice":                                       "/rolldice",
		"/Products(7)":                                    "/*",
		"/account/settings/two-factor-authentication":     "/account/settings/two-factor-authentication",
		"/geo/52.5200,13.4050":                            "/geo/*",
		"/node/ip-10-0-3-7.ec2.internal/metrics/cadvisor": "/node/*/metrics/cadvisor",
	} {
		for _, mode := range []configv1.RouteRules_Unmatched{configv1.RouteRules_UNMATCHED_HEURISTIC, configv1.RouteRules_UNMATCHED_UNSPECIFIED} {
			got := service(t, &configv1.RouteRules{Unmatched: mode}).Route(path, true)
			if got.Name != want || got.Ignored {
				t.Errorf("%s: Route(%q) = %+v, want %q", mode, path, got, want)
			}
		}
	}
}

// Names must stay and values must go; both by far, not without exception.
func TestHeuristicOnManyWords(t *testing.T) {
	t.Parallel()
	const names = `users accounts orders cart checkout payments products catalogue inventory search login logout register
		session tokens authorize callback webhooks healthz readyz livez metrics status version debug admin dashboard settings
		profile avatar images assets public favicon robots sitemap index contact support documentation external internal
		details create update delete upload download folders documents reports export import analytics events traces
		subscriptions invoices billing customers suppliers shipments addresses countries namespaces deployments services
		clusters configmaps secrets snapshots backups workflows pipelines releases artifacts repositories commits branches
		pulls comments articles newsletter messages channels members organizations permissions policies notifications devices
		telemetry firmware vehicles bookings reservations flights reviews wishlist recommendations coupons promotions currencies
		features experiments questions quizzes students fibonacci weather geocode directions autocomplete password
		playlists actuator swagger prometheus introspect userinfo hello-world user_profile add-to-cart`
	s := service(t, &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_HEURISTIC})
	for name := range strings.FieldsSeq(names) {
		if got := s.Route("/"+name, true).Name; got != "/"+name {
			t.Errorf("%s became %s", name, got)
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, length := range []int{8, 12, 20} {
		const tries = 1000
		kept := 0
		for range tries {
			word := make([]byte, length)
			for i := range word {
				word[i] = byte('a' + rnd.IntN(26))
			}
			if s.Route("/"+string(word), true).Name != "/*" {
				kept++
			}
		}
		if kept > tries*8/100 {
			t.Errorf("%d of %d random words of %d letters pass for names", kept, tries, length)
		}
	}
}

func TestPatterns(t *testing.T) {
	t.Parallel()
	s := service(t, &configv1.RouteRules{
		Patterns: []string{"/users/me", "/users/{id}", "/users/:id/orders/:order", "/static/*", "/files/*/raw", "/docs/**"},
		Ignore:   []string{"/healthz", "/internal/*"},
	})
	for path, want := range map[string]route.Route{
		"/users/me":               {Name: "/users/me"},
		"/users/17":               {Name: "/users/{id}"},
		"/users/":                 {Name: "/users"},
		"/users/17/orders/4":      {Name: "/users/:id/orders/:order"},
		"/users/17/orders/4/":     {Name: "/users/*/orders/*"},
		"/users/17/orders":        {Name: "/users/*/orders"},
		"/static/":                {Name: "/static/*"},
		"/static/css/1.css":       {Name: "/static/*"},
		"/static":                 {Name: "/static"},
		"/files/1/raw":            {Name: "/files/*/raw"},
		"/docs/a/b":               {Name: "/docs/**"},
		"/healthz":                {Ignored: true},
		"/healthz/db":             {Name: "/healthz/db"},
		"/internal/users/17":      {Ignored: true},
		"*":                       {},
		"":                        {},
		"proxy.example.com:443":   {},
		"/users/" + longSegment(): {Name: "/users/{id}"},
	} {
		if got := s.Route(path, true); got != want {
			t.Errorf("Route(%.60q) = %+v, want %+v", path, got, want)
		}
	}
}

func longSegment() string { return strings.Repeat("x", 1000) }

func TestUnmatched(t *testing.T) {
	t.Parallel()
	for mode, want := range map[configv1.RouteRules_Unmatched]string{
		configv1.RouteRules_UNMATCHED_UNSPECIFIED:     "/users/*",
		configv1.RouteRules_UNMATCHED_LOW_CARDINALITY: "/users/*",
		configv1.RouteRules_UNMATCHED_HEURISTIC:       "/users/*",
		configv1.RouteRules_UNMATCHED_WILDCARD:        "/**",
		configv1.RouteRules_UNMATCHED_PATH:            "/users/17",
		configv1.RouteRules_UNMATCHED_UNSET:           "",
	} {
		if got := service(t, &configv1.RouteRules{Unmatched: mode}).Route("/users/17", true).Name; got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
	}
}

func TestRulesOfServices(t *testing.T) {
	t.Parallel()
	book, _ := route.NewBook([]*configv1.RouteRules{
		{Services: []string{"cart*", "pay"}, Patterns: []string{"/a/{cart}"}},
		{Services: []string{"pay"}, Patterns: []string{"/a/{pay}"}, Unmatched: configv1.RouteRules_UNMATCHED_WILDCARD},
		{Patterns: []string{"/a/{any}"}, Unmatched: configv1.RouteRules_UNMATCHED_UNSET},
	})
	routes := route.New(book, nil)
	for name, want := range map[string][2]string{
		"cart-v2": {"/a/{cart}", ""}, "pay": {"/a/{cart}", "/**"}, "shop": {"/a/{any}", ""},
	} {
		s := routes.Service(name, name, route.Server)
		if got := [2]string{s.Route("/a/1", true).Name, s.Route("/b", true).Name}; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	routes.Use(&route.Book{})
	if got := routes.Service("pay", "pay", route.Server).Route("/a/1", true).Name; got != "/a/*" {
		t.Errorf("after other rules: %q", got)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	_, problems := route.NewBook([]*configv1.RouteRules{{}, {
		Patterns: []string{"users", "/a{b", "/{}", "/:", "/{a}b", "/x*y", "/a/**/b", "/a?x=1", "/" + strings.Repeat("x", route.MaxPattern), "/ok"},
		Ignore:   []string{""},
		Services: []string{"[a", "", "fine*"},
	}})
	var got []string
	for _, p := range problems[1] {
		got = append(got, p.Path+": "+p.Err.Error())
	}
	want := []string{
		`patterns[0]: want a path pattern that begins with "/"`,
		`patterns[1]: segment "a{b" is neither a name nor a parameter`,
		`patterns[2]: segment "{}" has no name`,
		`patterns[3]: segment ":" has no name`,
		`patterns[4]: segment "{a}b" has no closing brace at its end`,
		`patterns[5]: segment "x*y": "*" stands for a whole segment`,
		`patterns[6]: "**" may only be the last segment`,
		`patterns[7]: a path has no query and no fragment: remove what begins with ? or #`,
		`patterns[8]: want at most 128 bytes, got 129`,
		`ignore[0]: want a path pattern that begins with "/"`,
		`services[0]: malformed glob: a bracket without its end, or nothing after a backslash`,
		`services[1]: want a service name or a glob, got nothing`,
	}
	if d := cmp.Diff(want, got); d != "" || len(problems[0]) > 0 {
		t.Errorf("problems (-want +got):\n%s", d)
	}
}

// animal returns names that pass for language.
func animal(i int) string {
	return []string{
		"badger", "beaver", "cheetah", "donkey", "falcon", "ferret", "gorilla", "hamster", "leopard", "lobster", "monkey", "ostrich",
		"panther", "penguin", "rabbit", "salmon", "spider", "turkey", "walrus", "weasel", "wolverine", "antelope", "buffalo", "camel",
	}[i]
}

func TestTooManyNamesAtOnePlaceAreValues(t *testing.T) {
	t.Parallel()
	s := service(t)
	for i := range 10 {
		if got, want := s.Route("/zoo/"+animal(i)+"/food", true).Name, "/zoo/"+animal(i)+"/food"; got != want {
			t.Fatalf("name %d: %q, want %q", i, got, want)
		}
	}
	for i := range 20 { // the eleventh tips it, and then it holds for all
		if got := s.Route("/zoo/"+animal((i+10)%20)+"/food", true).Name; got != "/zoo/*/food" {
			t.Fatalf("name %d: %q", i, got)
		}
	}
	if got := s.Route("/shop/badger", true).Name; got != "/shop/badger" {
		t.Errorf("another place: %q", got)
	}
}

func TestAScanChangesNoRoute(t *testing.T) {
	t.Parallel()
	s := service(t)
	s.Route("/checkout", true)
	seen := map[string]bool{}
	for i := range 24 {
		seen[s.Route("/"+animal(i), false).Name] = true
	}
	if len(seen) > 11 || !seen["/*"] {
		t.Errorf("%d routes for paths that are not there: %v", len(seen), seen)
	}
	for _, path := range []string{"/checkout", "/cart"} {
		if got := s.Route(path, true).Name; got != path {
			t.Errorf("after the scan %s is %s", path, got)
		}
	}
	if got := s.Route("/checkout", false).Name; got != "/checkout" {
		t.Errorf("a proven name without proof: %q", got)
	}
	if got := s.Route("/"+animal(3), false).Name; got != "/*" {
		t.Errorf("an unproven name: %q", got)
	}
}

// Words of many shapes at many places, with success: whatever comes, the number of routes is bounded.
func TestRoutesAreBounded(t *testing.T) {
	t.Parallel()
	s := service(t)
	rnd := rand.New(rand.NewPCG(3, 4))
	seen := map[string]bool{}
	for range 50_000 {
		var path strings.Builder
		for range 1 + rnd.IntN(12) {
			path.WriteString("/" + animal(rnd.IntN(9)))
		}
		seen[s.Route(path.String(), rnd.IntN(2) == 0).Name] = true
	}
	if len(seen) > 4096 {
		t.Errorf("%d routes", len(seen))
	}
}

type sharedSet map[string]map[string]bool

func (s sharedSet) AddBounded(key, member string, limit int) bool {
	if s[key] == nil {
		s[key] = map[string]bool{}
	}
	if !s[key][member] && len(s[key]) >= limit {
		return false
	}
	s[key][member] = true
	return true
}

func TestReplicasAgreeOnCollapse(t *testing.T) {
	t.Parallel()
	set := sharedSet{}
	a := route.New(&route.Book{}, set).Service("zoo", "zoo", route.Server)
	b := route.New(&route.Book{}, set).Service("zoo", "zoo", route.Server)
	for i := range 10 {
		a.Route("/"+animal(i), true)
	}
	if got := b.Route("/"+animal(3), true).Name; got != "/"+animal(3) {
		t.Errorf("a name that the other has: %q", got)
	}
	if got := b.Route("/"+animal(11), true).Name; got != "/*" {
		t.Errorf("the eleventh name over both: %q", got)
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/users/17", "/users/{id}", true)
	f.Add("//;/..%2f", "/static/**", false)
	f.Fuzz(func(t *testing.T, path, pattern string, proven bool) {
		rules := &configv1.RouteRules{Patterns: []string{pattern}}
		book, _ := route.NewBook([]*configv1.RouteRules{rules})
		s := route.New(book, nil).Service("x", "x", route.Client)
		got := s.Route(path, proven)
		if again := s.Route(path, proven); again != got {
			t.Fatalf("%+v, then %+v", got, again)
		}
		if len(path) > 0 && path[0] == '/' && got.Name == "" || strings.Count(got.Name, "/") > 11 && got.Name != pattern {
			t.Fatalf("Route(%q) = %+v", path, got)
		}
	})
}

func BenchmarkRoute(b *testing.B) {
	for name, n := range map[string]int{"known": 1, "ids": 1 << 20} {
		b.Run(name, func(b *testing.B) {
			paths := make([]string, 8192)
			for i := range paths {
				paths[i] = fmt.Sprintf("/api/v1/users/%d/orders", i%n)
			}
			s := service(b)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				s.Route(paths[i%len(paths)], true)
			}
		})
	}
}
