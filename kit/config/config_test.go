// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/wrapperspb" // kinds.txtpb imports it

	"github.com/busbar/busbar/kit/config"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKinds returns the kinds of testdata/kinds.txtpb, and Open, whose spec is a Struct.
func testKinds(t testing.TB) config.Kinds {
	t.Helper()
	text, err := os.ReadFile("testdata/kinds.txtpb")
	if err != nil {
		t.Fatal(err)
	}
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	kinds := config.Kinds{"Open": func() proto.Message { return &structpb.Struct{} }}
	for _, name := range []string{"Pipeline", "Destination", "Everything"} {
		md := fd.Messages().ByName(protoreflect.Name(name))
		kinds[name] = func() proto.Message { return dynamicpb.NewMessage(md) }
	}
	return kinds
}

// golden compares got with a file, or writes it.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func fixtures(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures in %s: %v", folder, err)
	}
	return files
}

func TestGood(t *testing.T) {
	t.Parallel()
	kinds := testKinds(t)
	for _, file := range fixtures(t, "good") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			set, err := config.Load([]string{file}, kinds)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", dump(t, set))
		})
	}
}

// dump shows a set as indented JSON; the detour makes the output of protojson stable.
func dump(t *testing.T, set *config.Set) string {
	t.Helper()
	var out []any
	for _, r := range set.Resources {
		data, err := protojson.Marshal(r.Spec)
		if err != nil {
			t.Fatal(err)
		}
		var spec any
		if err := json.Unmarshal(data, &spec); err != nil {
			t.Fatal(err)
		}
		out = append(out, map[string]any{"kind": r.Kind, "name": r.Name, "labels": r.Labels, "spec": spec})
	}
	data, err := json.MarshalIndent(map[string]any{"resources": out, "files": set.Files()}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

func TestBad(t *testing.T) {
	t.Parallel()
	kinds := testKinds(t)
	for _, file := range fixtures(t, "bad") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			set, err := config.Load([]string{file}, kinds)
			if set != nil || err == nil {
				t.Fatal("accepted")
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", err.Error()+"\n")
		})
	}
}

const minimal = "apiVersion: busbar.dev/v1\nkind: Pipeline\nmetadata: {name: %s}\n"

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func names(set *config.Set) []string {
	var out []string
	for _, r := range set.Resources {
		out = append(out, r.Name)
	}
	return out
}

func TestLoadFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"b.yaml", "a.yml", ".hidden.yaml", "notes.txt"} {
		write(t, filepath.Join(dir, name), fmt.Sprintf(minimal, name[:1]))
	}
	if err := os.Mkdir(filepath.Join(dir, "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "below", "c.yaml"), fmt.Sprintf(minimal, "c"))
	write(t, filepath.Join(dir, "comments.yaml"), "# nothing\n")

	// The second path names a file again: it is read once.
	set, err := config.Load([]string{dir, dir + "/./b.yaml", dir + "/notes.txt"}, testKinds(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "n"}, names(set)); diff != "" {
		t.Error(diff)
	}
	if _, ok := set.Get("Pipeline", "a"); !ok {
		t.Error("Get does not find a")
	}
	if _, ok := set.Get("Destination", "a"); ok {
		t.Error("Get finds a thing of another kind")
	}
	if n := len(set.Of("Pipeline")); n != 3 {
		t.Errorf("Of returns %d", n)
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("good.yaml"), fmt.Sprintf(minimal, "good"))
	write(t, at("again.yaml"), fmt.Sprintf(minimal, "good"))
	write(t, at("large.yaml"), strings.Repeat("# large\n", 1<<17+1))
	if err := os.Mkdir(at("folder.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", at("link.yaml")); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load([]string{dir, at("missing"), "/dev/null"}, testKinds(t))
	want := strings.Join([]string{
		"DIR/folder.yaml: not a regular file",
		"DIR/large.yaml: larger than 1048576 bytes",
		"DIR/link.yaml: no such file or directory",
		"DIR/missing: no such file or directory",
		"/dev/null: not a regular file",
		`DIR/good.yaml:3:18: metadata.name: Pipeline "good" is already declared at DIR/again.yaml:3:18`,
	}, "\n")
	if err == nil {
		t.Fatal("accepted")
	}
	if diff := cmp.Diff(want, strings.ReplaceAll(err.Error(), dir, "DIR")); diff != "" {
		t.Error(diff)
	}
}

func TestNothingDeclared(t *testing.T) {
	t.Parallel()
	set, err := config.Load(nil, testKinds(t))
	if err != nil || len(set.Resources) != 0 {
		t.Errorf("got %v, %v", set, err)
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	t.Parallel()
	text := fmt.Sprintf(minimal, "x") + "spec:\n" + strings.Repeat("  signals: []\n", 300)
	_, err := config.Parse(testKinds(t), config.Source{Name: "f", Data: []byte(text)})
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != 101 || lines[100] != "f: 199 more faults" {
		t.Errorf("%d lines, last %q", len(lines), lines[len(lines)-1])
	}
}

func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml"} {
		files, _ := filepath.Glob(pattern) // the pattern is well formed
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	kinds := testKinds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := config.Parse(kinds, config.Source{Name: "f", Data: data})
		if (set == nil) == (err == nil) {
			t.Fatalf("set %v, error %v", set, err)
		}
		if err != nil {
			lines := 1
			for _, end := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} { // as YAML 1.1 has them
				lines += strings.Count(string(data), end)
			}
			for _, fault := range err.(config.Faults) { //nolint:errorlint // it must be exactly that
				if fault.Reason == "" || fault.Line < 0 || fault.Line > lines || fault.Line > 0 && fault.Col < 1 {
					t.Fatalf("bad fault %+v", fault)
				}
			}
			return
		}
		for _, r := range set.Resources {
			if r.Name == "" || r.Spec == nil {
				t.Fatalf("incomplete %+v", r)
			}
			var into any
			if faults := config.Decode(r, "spec", &into); faults != nil {
				t.Fatalf("loaded, but: %v", faults)
			}
		}
	})
}
