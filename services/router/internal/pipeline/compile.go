// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	configv1 "github.com/busbar/busbar/contract/config/v1"
	"github.com/busbar/busbar/contract/subject"
	"github.com/busbar/busbar/kit/collector"
	"github.com/busbar/busbar/kit/config"
	"github.com/busbar/busbar/services/router/internal/limit"
	"github.com/busbar/busbar/services/router/internal/ottl"
	"github.com/busbar/busbar/services/router/internal/redact"
	"github.com/busbar/busbar/services/router/internal/shortcut"
)

// Report takes a fault: the path of the value in the resource, where in its text, and why.
type Report func(path string, offset int, format string, args ...any)

// Compiler compiles the pipelines of a set.
type Compiler struct {
	Language *ottl.Compiler
	Limiter  *limit.Limiter // nil leaves limits out
	// What hosted processors are told: the version of the program, and where to log; nil for nowhere.
	Version string
	Log     *slog.Logger
}

// Source is a Pipeline resource.
type Source struct {
	Name string
	Spec *configv1.Pipeline
	// Settings reads the map at a path of the resource, as YAML has it. It reports why if it is not ok.
	Settings func(path string) (settings map[string]any, ok bool)
	Report   Report
}

// Compile compiles the match and the steps of a pipeline for the signals it takes. It reports every fault there is; the
// pipeline is of use only if there was none.
func (c Compiler) Compile(from Source, signals []subject.Signal) *Pipeline {
	spec, report := from.Spec, from.Report
	p := &Pipeline{steps: map[subject.Signal][]step{}}
	if spec.GetMatch() != "" {
		p.match = match(c.Language, spec.GetMatch(), report)
	}
	for i, s := range spec.GetSteps() {
		b := builder{Compiler: c, pipeline: from.Name, signals: signals, settings: from.Settings, report: report}
		b.step(fmt.Sprintf("steps[%d]", i), s)
		for signal, compiled := range b.made {
			p.steps[signal] = append(p.steps[signal], compiled)
		}
		p.hosted = append(p.hosted, b.hosted...)
	}
	return p
}

func match(c *ottl.Compiler, text string, report Report) ottl.Block {
	const path = "spec.match"
	b, fault := c.Condition(text)
	if fault != nil {
		report(path, fault.Offset, "%s", fault.Reason)
		return nil
	}
	if b.Context() != ottl.Resource {
		report(path, 0, "match is about the resource, not about each %s: use resource.attributes[...], or a filter step", b.Context())
		return nil
	}
	return b
}

// builder compiles one step.
type builder struct {
	Compiler
	pipeline string
	signals  []subject.Signal
	settings func(path string) (map[string]any, bool)
	report   Report
	made     map[subject.Signal]step
	hosted   []*collector.Processor
}

func (b *builder) step(name string, whole *configv1.Step) {
	path := "spec." + name
	switch s := whole.GetStep().(type) {
	case *configv1.Step_Filter:
		if b.collectors(name, path+".filter", "filter", s.Filter, "conditions") {
			return
		}
		all := b.expressions(path+".filter.conditions", s.Filter.GetConditions(), b.Language.Condition)
		b.each(all, func(signal subject.Signal, blocks []ottl.Block, texts []string) step {
			short, _ := shortcut.Conditions(signal, texts)
			return step{name + ".filter", Filtered, filter{shortened{short}, ottl.Join(blocks, true)}}
		})
	case *configv1.Step_Transform:
		if b.collectors(name, path+".transform", "transform", s.Transform, "statements") {
			return
		}
		all := b.expressions(path+".transform.statements", s.Transform.GetStatements(), b.Language.Statement)
		b.each(all, func(signal subject.Signal, blocks []ottl.Block, texts []string) step {
			short, _ := shortcut.Statements(signal, texts)
			return step{name + ".transform", "", transform{shortened{short}, ottl.Join(blocks, false)}}
		})
	case *configv1.Step_Redact:
		redactor := redact.New(s.Redact, func(below string, offset int, format string, args ...any) {
			b.report(path+".redact"+below, offset, format, args...)
		})
		b.all(step{name + ".redact", "", redaction{redactor}})
	case *configv1.Step_Sample:
		b.sample(name, path+".sample", s.Sample)
	case *configv1.Step_Limit:
		b.limit(name, path+".limit", s.Limit)
	default:
		b.other(name, path, whole)
	}
}

// expression is a compiled text.
type expression struct {
	text  string
	block ottl.Block
}

// expressions compiles texts, each of which must be about something that a signal of the pipeline has.
func (b *builder) expressions(path string, texts []string, compile func(string) (ottl.Block, *ottl.Fault)) (all []expression) {
	if len(texts) == 0 {
		b.report(path, 0, "want at least one")
	}
	for i, text := range texts {
		path := fmt.Sprintf("%s[%d]", path, i)
		block, fault := compile(text)
		switch {
		case fault != nil:
			b.report(path, fault.Offset, "%s", fault.Reason)
		case !slices.ContainsFunc(b.signals, block.Context().In):
			b.report(path, 0, "is about each %s, which %s do not have", block.Context(), list(b.signals))
		default:
			all = append(all, expression{text, block})
		}
	}
	return all
}

// each makes a step for every signal out of the expressions that are about it, if any.
func (b *builder) each(all []expression, compiled func(signal subject.Signal, blocks []ottl.Block, texts []string) step) {
	for _, signal := range b.signals {
		var blocks []ottl.Block
		var texts []string
		for _, e := range all {
			if e.block.Context().In(signal) {
				blocks, texts = append(blocks, e.block), append(texts, e.text)
			}
		}
		if len(blocks) > 0 {
			b.put(signal, compiled(signal, blocks, texts))
		}
	}
}

func (b *builder) sample(name, path string, s *configv1.Sample) {
	if slices.Contains(b.signals, subject.Metrics) {
		b.report(path, 0, "metrics cannot be sampled: set signals to traces, logs or both")
	}
	ratio := s.GetRatio()
	if !(ratio >= 0 && ratio <= 1) { // NaN is neither
		b.report(path+".ratio", 0, "want a number from 0 to 1, got %v", ratio)
	}
	var slower time.Duration
	if text := s.GetKeepSlowerThan(); text != "" {
		var err error
		if slower, err = config.Duration(text); err == nil && slower <= 0 {
			err = fmt.Errorf("want a duration above zero, got %q", text)
		}
		if err != nil {
			b.report(path+".keepSlowerThan", 0, "%v", err)
		}
	}
	if ratio < 1 {
		b.all(step{name + ".sample", Sampled, newSample(ratio, s.GetKeepErrors(), slower)})
	}
}

// all makes the step for every signal.
func (b *builder) all(s step) {
	for _, signal := range b.signals {
		b.put(signal, s)
	}
}

func (b *builder) put(signal subject.Signal, s step) {
	if b.made == nil {
		b.made = map[subject.Signal]step{}
	}
	b.made[signal] = s
}

func list(signals []subject.Signal) string {
	names := make([]string, len(signals))
	for i, s := range signals {
		names[i] = string(s)
	}
	return strings.Join(names, " and ")
}
