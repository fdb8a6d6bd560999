// SPDX-License-Identifier: Apache-2.0

package route

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	routev1 "github.com/busbar/busbar/contract/route/v1"
)

// sound checks what holds of every shape at any time.
func sound(t *testing.T, s *shape) {
	t.Helper()
	places, guesses := s.root.count()
	if places-1 != s.places || guesses-1 != s.guesses { // the root counts as guessed
		t.Fatalf("counted %d places and %d guesses, there are %d and %d", s.places, s.guesses, places-1, guesses-1)
	}
	if total := s.total.Load(); total != int64(s.places+len(s.exact.routes)) {
		t.Fatalf("the total is %d", total)
	}
	if s.guesses > maxGuesses || len(s.exact.routes) > maxExact || s.places > maxPlaces+maxNames {
		t.Fatalf("%d guesses, %d exact routes, %d places", s.guesses, len(s.exact.routes), s.places)
	}
	var walk func(n *node, route string, depth int)
	walk = func(n *node, route string, depth int) {
		if n.route != route || len(n.names) > maxNames || depth > maxSegments || len(route) > MaxRoute {
			t.Fatalf("place %q is at %q, depth %d, with %d names", n.route, route, depth, len(n.names))
		}
		for _, child := range n.names {
			if n.doubtful && child.standing < known || n.full && child.standing < settled || s.doubtful && child.standing < known {
				t.Fatalf("%q is shown", child.route)
			}
			walk(child, route+"/"+child.name, depth+1)
		}
		if n.values != nil {
			walk(n.values, route+"/*", depth+1)
		}
	}
	walk(&s.root, "", 0)
}

// Replicas that see some paths each, and exchange what they know now and then, agree in the end, and each shape is sound at any time.
func FuzzJoin(f *testing.F) {
	f.Add([]byte("anything"), uint8(3))
	f.Add([]byte(strings.Repeat("abcdefghijklmnopqrstuvwxyz", 40)), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, wide uint8) {
		words := strings.Fields("add alone basket cart card delete done drive edit easy fix free get good home hot item it just key last list more move next")
		replicas := make([]*Service, 3)
		for i := range replicas {
			replicas[i] = New(&Book{}).Service("", "shop", Server)
		}
		for len(data) > 4 {
			s := replicas[int(data[0])%len(replicas)]
			var path strings.Builder
			for _, b := range data[1:4] {
				path.WriteString("/" + words[int(b)%min(len(words), 2+int(wide))])
			}
			route := s.Route(path.String(), "", data[4]&1 == 0).Name
			if route != s.Route(path.String(), "", false).Name {
				t.Fatalf("%s has two routes", path.String())
			}
			if data[4]&14 == 0 {
				s.Join(replicas[int(data[4])%len(replicas)].Pack(), time.Time{})
			}
			sound(t, &s.shape)
			data = data[1:]
		}
		for range 2 {
			for i, s := range replicas {
				for _, o := range replicas {
					s.Join(o.Pack(), time.Time{})
				}
				sound(t, &replicas[i].shape)
			}
		}
		for _, s := range replicas[1:] {
			if !same(s.Pack(), replicas[0].Pack()) {
				t.Fatalf("replicas do not agree:\n%v\n%v", s.Pack(), replicas[0].Pack())
			}
		}
		if replicas[0].Join(replicas[1].Pack(), time.Time{}) {
			t.Fatal("what is known to both is news")
		}
	})
}

// Whatever is stored under a name of ours is taken in without harm, and what is packed of it is stable.
func FuzzUnpack(f *testing.F) {
	deep := &routev1.Place{}
	for range 3 * maxSegments {
		deep = &routev1.Place{Name: "deep", Names: []*routev1.Place{deep}, Values: &routev1.Place{}}
	}
	wide := &routev1.Shape{Root: &routev1.Place{}}
	for i := range 100 {
		wide.Root.Names = append(wide.Root.Names, &routev1.Place{Name: fmt.Sprint(i % 50), Standing: routev1.Place_Standing(i - 20)})
		wide.Exact = append(wide.Exact, strings.Repeat("x", 7*i))
	}
	for _, m := range []*routev1.Shape{{Root: deep.Names[0]}, wide, {}} {
		data, err := m.MarshalVT()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := new(routev1.Shape)
		if m.UnmarshalVT(data) != nil {
			return
		}
		s := New(&Book{}).Service("", "shop", Server)
		s.Join(m, time.Time{})
		if s.shape.places <= maxPlaces {
			sound(t, &s.shape)
		}
		again := shape{total: new(atomic.Int64)}
		again.unpack(s.shape.pack())
		if !same(again.pack(), s.shape.pack()) {
			t.Fatalf("%v, then %v", s.shape.pack(), again.pack())
		}
	})
}
