// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/kit/run"
	"github.com/busbar/busbar/services/enricher"
	"github.com/busbar/busbar/services/exporter"
	"github.com/busbar/busbar/services/probe"
	"github.com/busbar/busbar/services/router"
)

// check prints every fault of resources, one a line, or how many resources there are.
func check(_ context.Context, args []string, env func(string) string, stdout, _ io.Writer) error {
	fs := run.NewFlags("busbar check", "validates resources", "PATH...", stdout)
	schema := fs.Bool("schema", false, "print the JSON Schema of resources, for editors")
	paths, err := run.ParseOperands(fs, args, env)
	if err != nil {
		return err
	}
	if *schema {
		_, err = stdout.Write(config.JSONSchema(configv1.Kinds()))
		return err
	}
	if len(paths) == 0 {
		return run.UsageError(fs.Name(), errors.New("want the PATH of a file or folder"))
	}
	set, faults := examine(paths, nil)
	for _, f := range faults {
		fmt.Fprintln(stdout, f)
	}
	if len(faults) > 0 {
		return run.Exit(1)
	}
	_, err = fmt.Fprintf(stdout, "ok: %d resources\n", len(set.Resources))
	return err
}

// examine loads resources and lets every service look at them. Flags may have asked for destinations besides.
func examine(paths []string, routes []router.Route) (*config.Set, config.Faults) {
	return config.Examine(paths, configv1.Kinds(), probe.Check, enricher.Check, router.Routes(routes).Check, exporter.Check)
}
