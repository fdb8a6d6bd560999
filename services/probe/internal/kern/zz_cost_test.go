package kern

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

type pp struct {
	pid int
	in  *bufio.Writer
	out *bufio.Scanner
}

func startPP(t *testing.T, req, body int) *pp {
	cmd := exec.CommandContext(t.Context(), "/tmp/cost/pp/pp", "server", strconv.Itoa(req), strconv.Itoa(body), "1")
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	p := &pp{0, bufio.NewWriter(in), bufio.NewScanner(out)}
	p.out.Scan()
	p.pid, _ = strconv.Atoi(p.out.Text())
	return p
}

func (p *pp) run(n int) float64 {
	fmt.Fprintf(p.in, "%d\n", n)
	p.in.Flush()
	p.out.Scan()
	v, _ := strconv.ParseFloat(strings.Fields(p.out.Text())[0], 64)
	return v
}

func med(v []float64) float64 { s := slices.Sorted(slices.Values(v)); return s[len(s)/2] }

func TestZZCost(t *testing.T) {
	tier := os.Getenv("TIER")
	if tier == "" {
		tier = "btf"
	}
	rounds := 5
	if s := os.Getenv("ROUNDS"); s != "" {
		rounds, _ = strconv.Atoi(s)
	}
	for _, w := range []struct{ req, body int }{{0, 2}, {1, 2}, {0, 65536}} {
		p := startPP(t, w.req, w.body)
		batches := 150
		if w.body > 100 {
			batches = 40
		}
		var none, ign, obs, dign, dobs []float64
		for range rounds {
			n1 := p.run(batches)
			k, err := Load(Options{Tier: tier, DefaultIgnore: true})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- k.Read(ctx, &counter{}) }()
			k.Decide(uint32(p.pid), Verdict{Observe: true, Threads: os.Getenv("THREADS") != ""})
			p.run(5)
			o1 := p.run(batches)
			k.Forget(uint32(p.pid))
			i1 := p.run(batches)
			k.Decide(uint32(p.pid), Verdict{Observe: true, Threads: os.Getenv("THREADS") != ""})
			o2 := p.run(batches)
			cancel()
			<-done
			k.Close()
			time.Sleep(50 * time.Millisecond)
			n2 := p.run(batches)
			n := (n1 + n2) / 2
			o := (o1 + o2) / 2
			none = append(none, n)
			ign = append(ign, i1)
			obs = append(obs, o)
			dign = append(dign, i1-n)
			dobs = append(dobs, o-n)
		}
		fmt.Printf("req %d body %5d: none %.0f ignored %.0f (+%.0f) observed %.0f (+%.0f)  d %v\n", w.req, w.body, med(none), med(ign), med(dign), med(obs), med(dobs), dobs)
	}
}
