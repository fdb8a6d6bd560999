// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// benchKernels measures the tiers in emulated machines with other kernels. They are tens of times as slow as real ones, and slower at
// some things than at others: only how the tiers compare on one of them says something.
func benchKernels(ctx context.Context, out io.Writer, kernels []string) error {
	dir, err := os.MkdirTemp("", "busbar-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	test := filepath.Join(dir, "kern.test")
	if text, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", test, kernPackage).CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", test, err, text)
	}
	fmt.Fprint(out, keptSection+"\nWritten by `make bench-kernels`, in emulated machines with the kernels of Debian: CPU time (lowest decile) of an exchange over loopback, both halves in one thread, by "+
		"system calls alone. Observed it makes two records. Emulation is tens of times slower than a processor: the ratios tell how tiers compare, not what a server pays.\n\n"+
		"| kernel | tier | not selected ÷ no probe | observed ÷ no probe |\n|---|---|---|---|\n")
	for _, kernel := range kernels {
		text, err := exec.CommandContext(ctx, "hack/lab/vmrun", "--kernel", kernel, "--timeout", "1800", "--", test,
			"-test.run", "^$", "-test.bench", "^BenchmarkExchange$").CombinedOutput()
		if err != nil {
			return fmt.Errorf("kernel %s: %w\n%s", kernel, err, text)
		}
		results, err := parse(text)
		if err != nil {
			return err
		}
		reportKernel(out, kernel, results)
	}
	return nil
}

func reportKernel(out io.Writer, kernel string, results []result) {
	cpu := map[string]float64{}
	var tiers []string
	for _, r := range results {
		name := strings.TrimPrefix(r.name, "Exchange/")
		cpu[name] = r.values["cpu-ns/exchange"]
		if tier, ok := strings.CutSuffix(name, "/observed"); ok {
			tiers = append(tiers, tier)
		}
	}
	for _, tier := range tiers {
		fmt.Fprintf(out, "| %s | %s | %.2f | %.2f |\n", kernel, tier, cpu[tier+"/ignored"]/cpu["none"], cpu[tier+"/observed"]/cpu["none"])
	}
}
