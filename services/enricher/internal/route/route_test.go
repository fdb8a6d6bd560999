// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

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
	return route.New(book).Service("", "shop", route.Server)
}

func TestHeuristic(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/":                 "/",
		"//":                "/",
		"/factorial/123":    "/factorial/*",
		"/users/42/orders/": "/users/*/orders",
		"/users/0d5a3a3e-6a55-4a6c-8a0c-9c6d0a7b1c2d": "/users/*",
		"/blob/9f86d081884c7d659a2feaa0c55ad015":      "/blob/*",
		"/report/2024-02-29/summary":                  "/report/*/summary",
		"/user/jane.doe@example.com":                  "/user/*",
		"/user/jane%40example.com/avatar":             "/user/*/avatar",
		"/t/xkqzvwjhpt":                               "/t/*",
		"/t/aGVsbGVnYWxqdQ":                           "/t/*",
		"/v1/users":                                   "/v1/users",
		"/api/v2beta1/pods":                           "/api/v2beta1/pods",
		"/api/v1.41/containers/json":                  "/api/v1.41/containers/json",
		"/api/v1234/x":                                "/api/*/x",
		"/vendor/list":                                "/vendor/list",
		"/oauth2/token":                               "/oauth2/token",
		"/OAuth2/token":                               "/OAuth2/token",
		"/s3/bucket-list":                             "/s3/bucket-list",
		"/getUserById/7":                              "/getUserById/*",
		"/PaymentService/ChargeHTTPRequest":           "/PaymentService/ChargeHTTPRequest",
		"/static/jquery.min.js":                       "/static/jquery.min.js",
		"/static/main.3f2a9c1b.js":                    "/static/*",
		"/wp-admin/admin-ajax.php":                    "/wp-admin/admin-ajax.php",
		"/.well-known/jwks.json":                      "/.well-known/jwks.json",
		"/xmlrpc.php":                                 "/xmlrpc.php",
		"/cart;jsessionid=8A3F/items":                 "/cart/items",
		"/graphql":                                    "/graphql",
		"/phpMyAdmin":                                 "/phpMyAdmin",
		"/kafka/topics/orders-dlq":                    "/kafka/topics/orders-dlq",
		"/straße/münchen":                             "/*/*",
		"/-/_/.":                                      "/*/*/*",
		"/a/b/c/d/e/f/g/h/i/j/k/l/m":                  "/a/b/c/d/e/f/g/h/i/j/*",
		"/repos/" + strings.Repeat("name/", 9):        "/repos" + strings.Repeat("/name", 9),
		"/emails/1/attachments/2/pages/3":             "/emails/*/attachments/*/pages/*",
		"/status/404":                                 "/status/*",
		"/item42":                                     "/*",
		"/x/\x00\xff":                                 "/x/*",
		"/rolldice":                                   "/rolldice",
		"/grpc.health.v1.Health/Check":                "/grpc.health.v1.Health/Check",
		"/opentelemetry.proto.collector.trace.v1.TraceService/Export": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
		"/Products(7)": "/*",
		"/account/settings/two-factor-authentication":     "/account/settings/two-factor-authentication",
		"/geo/52.5200,13.4050":                            "/geo/*",
		"/node/ip-10-0-3-7.ec2.internal/metrics/cadvisor": "/node/*/metrics/cadvisor",
	} {
		for _, mode := range []configv1.RouteRules_Unmatched{configv1.RouteRules_UNMATCHED_HEURISTIC, configv1.RouteRules_UNMATCHED_UNSPECIFIED} {
			got := service(t, &configv1.RouteRules{Unmatched: mode}).Route(path, "", true)
			if got != (route.Route{Name: want}) {
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
		if got := s.Route("/"+name, "", true).Name; got != "/"+name {
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
			if s.Route("/"+string(word), "", true).Name != "/*" {
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
		Patterns:      []string{"/users/me", "/users/{id}", "/users/:id/orders/:order", "/static/*", "/files/*/raw", "/docs/**"},
		Ignore:        []string{"/healthz", "/internal/*"},
		IgnoreSpans:   []string{"/poll/**", "/users/me"},
		IgnoreMetrics: []string{"/debug/*", "/poll/odd"},
	})
	for path, want := range map[string]route.Route{
		"/users/me":               {Name: "/users/me", NoSpan: true},
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
		"/healthz":                {NoSpan: true, NoMetric: true},
		"/healthz/db":             {Name: "/healthz/db"},
		"/internal/users/17":      {NoSpan: true, NoMetric: true},
		"/poll/even":              {Name: "/poll/even", NoSpan: true},
		"/poll/odd":               {NoSpan: true, NoMetric: true},
		"/debug/vars":             {Name: "/debug/vars", NoMetric: true},
		"*":                       {},
		"":                        {},
		"proxy.example.com:443":   {},
		"/users/" + longSegment(): {Name: "/users/{id}"},
	} {
		if got := s.Route(path, "", true); got != want {
			t.Errorf("Route(%.60q) = %+v, want %+v", path, got, want)
		}
	}
}

// What people write for their frameworks is understood.
func TestPatternsOfFrameworks(t *testing.T) {
	t.Parallel()
	for pattern, paths := range map[string][2]string{ // that match, and that do not
		"/":                               {"/", "/a"},
		"/*":                              {"/ /a /a/b", ""},
		"/users/{id:[0-9]+/?}/x":          {"/users/7/x", "/users/7"},
		"/users/{id:int}":                 {"/users/7", "/users /users/ /users/7/8"},
		"/users/{id?}":                    {"/users/7 /users", "/users/7/8"},
		"/users/{id:int?}":                {"/users/7 /users", "/users/7/8"},
		"/users/:id(\\d+)":                {"/users/7", "/users/7/8 /users"},
		"/users/:id?":                     {"/users/7 /users", "/users/7/8"},
		"/users/<int:id>":                 {"/users/7", "/users /users/7/8"},
		"/users/<id>/cart":                {"/users/7/cart", "/users/7/carts"},
		"/files/<path:rest>":              {"/files/ /files/a/b", "/files"},
		"/files/{path...}":                {"/files/ /files/a/b", "/files"},
		"/files/{*path}":                  {"/files/ /files/a/b", "/files"},
		"/files/{**path}":                 {"/files/ /files/a/b", "/files"},
		"/files/{path:path}":              {"/files/ /files/a/b", "/files"},
		"/files/{tail:.*}":                {"/files/ /files/a/b", "/files"},
		"/files/*path":                    {"/files/ /files/a/b", "/files"},
		"/files/**":                       {"/files/ /files/a/b", "/files"},
		"/exact/{$}":                      {"/exact/", "/exact /exact/a"},
		"/report.{format}":                {"/report.pdf", "/report. /report /report.a/b"},
		"/report/{id}.json":               {"/report/7.json /report/a.b.json", "/report/.json /report/7.xml"},
		"/users/{id}:activate":            {"/users/7:activate", "/users/:activate /users/7"},
		"/flights/:from-:to":              {"/flights/BER-JFK", "/flights/BER /flights/-JFK"},
		"/tiles/{z}/{x}-{y}.png":          {"/tiles/1/2-3.png", "/tiles/1/2.png"},
		"/v{version}/users":               {"/v1/users", "/v/users /1/users"},
		"/*.html":                         {"/a.html", "/.html /a/b.html"},
		"/a*b*c":                          {"/a1b2c /abbcc /a1bb2c", "/abc /a1c"},
		"/Products({id})":                 {"/Products(7)", "/Products"},
		"/a:b/c":                          {"/a:b/c", "/a7/c"},
		"/pkg.Service/{method}":           {"/pkg.Service/Get", "/pkg.Other/Get"},
		"/odd/{a}{b}":                     {"/odd/x", "/odd/"},
		"/users/{id}/posts/{post_id}/{$}": {"/users/1/posts/2/", "/users/1/posts/2"},
	} {
		s := service(t, &configv1.RouteRules{Patterns: []string{pattern}, Unmatched: configv1.RouteRules_UNMATCHED_UNSET})
		for i, want := range []string{pattern, ""} {
			for path := range strings.FieldsSeq(paths[i]) {
				if got := s.Route(path, "", true).Name; got != want {
					t.Errorf("%s: Route(%q) = %q", pattern, path, got)
				}
			}
		}
	}
}

// However many patterns there are, and whatever they have in common, the first one that matches is the route.
func TestTheFirstPatternWins(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	words := []string{"a", "b", "ab", "{x}", "a{x}", "{x}b", "*"}
	for range 300 {
		patterns, singles := []string{}, []*route.Service{}
		for range 1 + rnd.IntN(12) {
			var p strings.Builder
			for range 1 + rnd.IntN(3) {
				p.WriteString("/" + words[rnd.IntN(len(words))])
			}
			patterns = append(patterns, p.String())
			singles = append(singles, service(t, &configv1.RouteRules{Patterns: []string{p.String()}, Unmatched: configv1.RouteRules_UNMATCHED_UNSET}))
		}
		all := service(t, &configv1.RouteRules{Patterns: patterns, Unmatched: configv1.RouteRules_UNMATCHED_UNSET})
		for _, path := range []string{"/", "/a", "/ab", "/b/a", "/ab/b", "/a/ab/b", "/ab/ab/ab", "/x/y/z", "/a/b/c/d"} {
			want := ""
			for i, single := range slices.Backward(singles) {
				if single.Route(path, "", true).Name != "" {
					want = patterns[i]
				}
			}
			if got := all.Route(path, "", true).Name; got != want {
				t.Fatalf("%q: Route(%q) = %q, want %q", patterns, path, got, want)
			}
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
		if got := service(t, &configv1.RouteRules{Unmatched: mode}).Route("/users/17", "", true).Name; got != want {
			t.Errorf("%s: %q, want %q", mode, got, want)
		}
	}
}

func TestRulesOfServices(t *testing.T) {
	t.Parallel()
	book, _ := route.NewBook([]*configv1.RouteRules{
		{Services: []string{"cart*", "pay"}, Patterns: []string{"/a/{cart}"}},
		{Services: []string{"pay"}, Patterns: []string{"/a/{pay}"}, Unmatched: configv1.RouteRules_UNMATCHED_WILDCARD},
		{Namespaces: []string{"eu-*"}, Role: configv1.RouteRules_ROLE_CLIENT, Patterns: []string{"/a/{eu}"}},
		{Patterns: []string{"/a/{any}"}, Unmatched: configv1.RouteRules_UNMATCHED_UNSET},
	})
	routes := route.New(book)
	for id, want := range map[[3]string][2]string{
		{"", "cart-v2", "server"}:  {"/a/{cart}", ""},
		{"", "pay", "server"}:      {"/a/{cart}", "/**"},
		{"", "shop", "server"}:     {"/a/{any}", ""},
		{"eu-1", "shop", "server"}: {"/a/{any}", ""},
		{"eu-1", "shop", "client"}: {"/a/{eu}", ""},
		{"us-1", "shop", "client"}: {"/a/{any}", ""},
	} {
		s := routes.Service(id[0], id[1], route.Side(id[2]))
		if got := [2]string{s.Route("/a/1", "", true).Name, s.Route("/b", "", true).Name}; got != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	routes.Use(&route.Book{})
	if got := routes.Service("", "pay", route.Server).Route("/a/1", "", true).Name; got != "/a/*" {
		t.Errorf("after other rules: %q", got)
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	_, problems := route.NewBook([]*configv1.RouteRules{{}, {
		Patterns: []string{
			"users", "/a{b", "/{}", "/:", "/{a}}", "/a/**/b", "/a?x=1", "/" + strings.Repeat("x", route.MaxPattern), "/ok",
			"/{a?}/b", "/x{a...}", "/<int:>", "/<a", "/{$}x", "GET /users", "/{a?}b",
		},
		Ignore:      []string{""},
		IgnoreSpans: []string{"x"}, IgnoreMetrics: []string{"/a#b"},
		Services: []string{"[a", "", "fine*"}, Namespaces: []string{"b\\"},
	}})
	var got []string
	for _, p := range problems[1] {
		got = append(got, p.Path+": "+p.Err.Error())
	}
	want := []string{
		`patterns[0]: want a path pattern that begins with "/"`,
		`patterns[1]: segment "a{b" has no closing "}"`,
		`patterns[2]: parameter "{}" has no name`,
		`patterns[3]: segment ":" is neither a name nor a parameter`,
		`patterns[4]: segment "{a}}" is neither a name nor a parameter`,
		`patterns[5]: segment "**" takes the rest of a path and may only be the last one`,
		`patterns[6]: a path has no query and no fragment: remove what begins with ? or #`,
		`patterns[7]: want at most 128 bytes, got 129`,
		`patterns[9]: segment "{a?}" may be missing and may only be the last one`,
		`patterns[10]: segment "x{a...}": what may be missing or takes the rest of a path stands for a whole segment`,
		`patterns[11]: parameter "<int:>" has no name`,
		`patterns[12]: segment "<a" has no closing ">"`,
		`patterns[13]: segment "{$}x": {$} may only end a pattern`,
		`patterns[14]: want a path pattern that begins with "/"`,
		`patterns[15]: segment "{a?}b": what may be missing or takes the rest of a path stands for a whole segment`,
		`ignore[0]: want a path pattern that begins with "/"`,
		`ignoreSpans[0]: want a path pattern that begins with "/"`,
		`ignoreMetrics[0]: a path has no query and no fragment: remove what begins with ? or #`,
		`services[0]: malformed glob: a bracket without its end, or nothing after a backslash`,
		`services[1]: want a name or a glob, got nothing`,
		`namespaces[0]: malformed glob: a bracket without its end, or nothing after a backslash`,
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
	for i := range 20 {
		if got, want := s.Route("/zoo/"+animal(i%10)+"/food", "", true).Name, "/zoo/"+animal(i%10)+"/food"; got != want {
			t.Fatalf("name %d: %q, want %q", i, got, want)
		}
	}
	if got := s.Route("/zoo/"+animal(10)+"/food", "", true).Name; got != "/zoo/*/food" {
		t.Fatalf("the eleventh name: %q", got)
	}
	for i := range 20 { // it is known when it comes again, and then it holds for all
		if got := s.Route("/zoo/"+animal((i+10)%20)+"/food", "", true).Name; got != "/zoo/*/food" {
			t.Fatalf("name %d: %q", i, got)
		}
	}
	if got := s.Route("/shop/badger", "", true).Name; got != "/shop/badger" {
		t.Errorf("another place: %q", got)
	}
}

func TestAScanChangesNoRoute(t *testing.T) {
	t.Parallel()
	s := service(t)
	s.Route("/checkout", "", true)
	seen := map[string]bool{}
	for i := range 24 {
		seen[s.Route("/"+animal(i), "", false).Name] = true
	}
	if len(seen) > 11 || !seen["/*"] {
		t.Errorf("%d routes for paths that are not there: %v", len(seen), seen)
	}
	if got := s.Route("/checkout", "", true).Name; got != "/checkout" {
		t.Errorf("after the scan, at its second success: %s", got)
	}
	s.Route("/cart", "", true)
	if got := s.Route("/cart", "", true).Name; got != "/cart" {
		t.Errorf("a new name at its second success: %s", got)
	}
	if got := s.Route("/checkout", "", false).Name; got != "/checkout" {
		t.Errorf("a known name without success: %q", got)
	}
	if got := s.Route("/"+animal(3), "", false).Name; got != "/*" {
		t.Errorf("an unknown name: %q", got)
	}
}

// Routes that are shown as they are have a bound too: beyond it a service has those of lowCardinality, whoever asks for what.
func TestExactRoutesAreBounded(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		rules *configv1.RouteRules
		ask   func(s *route.Service, i int) string
		first string // of the first of many
	}{
		{"path", &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_PATH}, func(s *route.Service, i int) string {
			return s.Route(fmt.Sprintf("/users/%d", i), "", false).Name
		}, "/users/0"},
		{"heuristic", &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_HEURISTIC}, func(s *route.Service, i int) string {
			return s.Route(fmt.Sprintf("/%s/%s/%s", animal(i%24), animal(i/24%24), animal(i/576)), "", false).Name
		}, "/badger/badger/badger"},
		{"framework", &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_UNSET}, func(s *route.Service, i int) string {
			return s.Route("/users/1", fmt.Sprintf("/users/{id%d}", i), true).Name
		}, "/users/{id0}"},
	} {
		book, _ := route.NewBook([]*configv1.RouteRules{tc.rules})
		routes := route.New(book)
		s := routes.Service("", "shop", route.Server)
		seen := map[string]bool{}
		if got := tc.ask(s, 0); got != tc.first {
			t.Errorf("%s: the first is %s", tc.name, got)
		}
		for i := range 2000 {
			seen[tc.ask(s, i)] = true
		}
		if len(seen) > 600 || tc.ask(s, 0) == tc.first || routes.Coarse() < 1000 || routes.Places() > 250 {
			t.Errorf("%s: %d routes, %d of them coarse, %d places, and the first is %s", tc.name, len(seen), routes.Coarse(), routes.Places(), tc.ask(s, 0))
		}
	}
}

func TestTheRouteOfTheFramework(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		rules      *configv1.RouteRules
		path, want string
	}{
		{nil, "/users/17", "/users/{name}"},
		{&configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_UNSET}, "/users/17", "/users/{name}"},
		{&configv1.RouteRules{Patterns: []string{"/users/{id}"}}, "/users/17", "/users/{id}"},
		{nil, "*", ""},
	} {
		if got := service(t, tc.rules).Route(tc.path, "/users/{name}", false); got != (route.Route{Name: tc.want}) {
			t.Errorf("%v: Route(%q) = %+v", tc.rules, tc.path, got)
		}
	}
}

// However many services there are, and whatever they are asked for, what is remembered of them is bounded.
func TestPlacesAreBounded(t *testing.T) {
	t.Parallel()
	routes := route.New(&route.Book{})
	const most = 100_000 // and what one more path has
	for i := range 5000 {
		s := routes.Service("", fmt.Sprint(i), route.Server)
		for range 2 {
			for k := range 40 {
				s.Route("/"+animal(k%5)+"/"+animal(k%8)+"/"+animal(i%24), "", true)
			}
		}
		if n := routes.Places(); n > most+20 {
			t.Fatalf("%d places after %d services", n, i)
		}
	}
	if routes.Places() < most/2 {
		t.Errorf("%d places", routes.Places())
	}
	if got := routes.Service("", "4999", route.Server).Route("/1/2", "", true).Name; strings.Count(got, "*") == 0 {
		t.Errorf("a route without room: %q", got)
	}
}

func TestStale(t *testing.T) {
	t.Parallel()
	routes := route.New(&route.Book{})
	begin := time.Unix(1_700_000_000, 0)
	for _, name := range []string{"old", "new", "never"} {
		s := routes.Service("", name, route.Server)
		if name != "never" {
			s.Stored(begin)
		}
		if name == "new" {
			s.Stored(begin.Add(time.Hour))
		}
	}
	for i, want := range []int{1, 0} { // the second time nobody has asked since
		stale := routes.Stale(begin.Add(time.Minute))
		if len(stale) != want || want > 0 && stale[0].Name() != "old" {
			t.Errorf("call %d: %d are stale", i, len(stale))
		}
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
		seen[s.Route(path.String(), "", rnd.IntN(2) == 0).Name] = true
	}
	if len(seen) > 4096 {
		t.Errorf("%d routes", len(seen))
	}
}

func FuzzRoute(f *testing.F) {
	f.Add("/users/17", "/users/{id}", true)
	f.Add("//;/..%2f", "/static/**", false)
	f.Fuzz(func(t *testing.T, path, pattern string, proven bool) {
		rules := &configv1.RouteRules{Patterns: []string{pattern}}
		book, _ := route.NewBook([]*configv1.RouteRules{rules})
		s := route.New(book).Service("x", "x", route.Client)
		got := s.Route(path, "", proven)
		if again := s.Route(path, "", proven); again != got {
			t.Fatalf("%+v, then %+v", got, again)
		}
		if len(path) > 0 && path[0] == '/' && got.Name == "" || strings.Count(got.Name, "/") > 11 && got.Name != pattern {
			t.Fatalf("Route(%q) = %+v", path, got)
		}
	})
}

// mixes are paths as services see them, for benchmarks: names of the known, ids, patterns, and what scanners ask for.
func mixes(t testing.TB) map[string]struct {
	s     *route.Service
	paths []string
} {
	t.Helper()
	paths := func(format string, n int) (out []string) {
		for i := range 4096 {
			out = append(out, fmt.Sprintf(format, i%n))
		}
		return out
	}
	var words []string
	for i := range 4096 {
		words = append(words, "/"+animal(i%24)+"/"+animal(i/24%24)+"/"+animal(i/576%24))
	}
	var patterns []string
	for i := range 200 {
		patterns = append(patterns, fmt.Sprintf("/api/v1/%s/{id}/%s%d", animal(i%24), animal(i/24), i%3))
	}
	return map[string]struct {
		s     *route.Service
		paths []string
	}{
		"name":      {service(t), paths("/api/v1/users", 1)},
		"id":        {service(t), paths("/api/v1/users/%d/orders", 4096)},
		"scan":      {service(t), words},
		"pattern":   {service(t, &configv1.RouteRules{Patterns: patterns}), paths("/api/v1/badger/%d/badger0", 4096)},
		"path":      {service(t, &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_PATH}), paths("/api/v1/users/%d/orders", 400)},
		"heuristic": {service(t, &configv1.RouteRules{Unmatched: configv1.RouteRules_UNMATCHED_HEURISTIC}), paths("/api/v1/users/%d/orders", 4096)},
	}
}

func TestLookupsDoNotAllocate(t *testing.T) { //nolint:paralleltest // it counts allocations
	for name, mix := range mixes(t) {
		all := func() {
			for i, path := range mix.paths {
				mix.s.Route(path, "", i%3 > 0)
			}
		}
		all()
		all() // what is known changes no more
		if n := testing.AllocsPerRun(2, all); n > 0 {
			t.Errorf("%s: %v allocations for %d paths", name, n, len(mix.paths))
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	for name, mix := range mixes(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				mix.s.Route(mix.paths[i%len(mix.paths)], "", true)
			}
		})
	}
}
