// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestProcesses(t *testing.T) {
	k, r := start(t, Options{})
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "/bin/true; :", "sh", "with space")
	cmd.Env = []string{"OTEL_SERVICE_NAME=shop", "EMPTY="}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := uint32(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	of := func(tgid uint32) (events []changed) {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range r.processes {
			if p.TGID == tgid {
				events = append(events, p)
			}
		}
		return events
	}
	var events []changed
	until(t, func() bool {
		events = of(pid)
		return len(events) == 3
	}, func() { t.Fatalf("events: %+v", events) })
	forked, execed, exited := events[0], events[1], events[2]
	if forked.Event != Fork || execed.Event != Exec || exited.Event != Exit {
		t.Errorf("events %d %d %d", forked.Event, execed.Event, exited.Event)
	}
	for _, e := range events {
		if e.Parent != uint32(os.Getpid()) || e.Started == 0 || e.Started != execed.Started || e.Time < e.Started || e.Cgroup == 0 {
			t.Errorf("%+v", e.Process)
		}
	}
	if !(forked.Time <= execed.Time && execed.Time < exited.Time) {
		t.Errorf("times %d %d %d", forked.Time, execed.Time, exited.Time)
	}
	want := changed{file: "/bin/sh", args: "/bin/sh\x00-c\x00/bin/true; :\x00sh\x00with space\x00", env: "OTEL_SERVICE_NAME=shop\x00EMPTY=\x00"}
	got := changed{file: execed.file, args: execed.args, env: execed.env}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(changed{}), cmp.Comparer(func(a, b Process) bool { return true })); diff != "" {
		t.Error("-want +got\n", diff)
	}
	if execed.Comm() != "sh" || forked.file+forked.args+forked.env != "" {
		t.Errorf("comm %q, forked %+v", execed.Comm(), forked)
	}
	if n := k.Drops()["ring_full_process"]; n != 0 {
		t.Errorf("%d dropped", n)
	}
}

// TestLongEnvironment checks that what is too long is cut, and the rest of the record is whole.
func TestLongEnvironment(t *testing.T) {
	_, r := start(t, Options{})
	cmd := exec.CommandContext(t.Context(), "/bin/true", strings.Repeat("a", 3000))
	cmd.Env = []string{"LONG=" + strings.Repeat("e", 5000)}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	var found changed
	until(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, p := range r.processes {
			if p.TGID == uint32(cmd.Process.Pid) && p.Event == Exec {
				found = p
			}
		}
		return found.TGID != 0
	}, func() { t.Fatal("no exec") })
	if found.file != "/bin/true" || len(found.args) != 512 || len(found.env) != 2048 || !strings.HasPrefix(found.args, "/bin/true\x00aaa") ||
		!strings.HasPrefix(found.env, "LONG=eee") {
		t.Errorf("%q %d %d %.20q %.20q", found.file, len(found.args), len(found.env), found.args, found.env)
	}
}
