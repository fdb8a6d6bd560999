// SPDX-License-Identifier: Apache-2.0

package kern

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// holdRole makes the test binary a process that attaches the hooks of a tier and waits.
const holdRole = "KERN_TEST_HOLD"

// held are the ids under which the kernel keeps what a process attached.
type held struct {
	Programs []ebpf.ProgramID
	Maps     []ebpf.MapID
	Links    []link.ID
}

func hold(tier string) error {
	k, err := Load(Options{Tier: tier, DefaultIgnore: true})
	if err != nil {
		return err
	}
	defer k.Close()
	h, err := k.held()
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(h); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func (k *Kern) held() (h held, err error) {
	for name, p := range k.programs {
		info, err := p.Info()
		if err != nil {
			return h, fmt.Errorf("program %s: %w", name, err)
		}
		id, _ := info.ID()
		h.Programs = append(h.Programs, id)
	}
	for name, m := range k.maps {
		info, err := m.Info()
		if err != nil {
			return h, fmt.Errorf("map %s: %w", name, err)
		}
		id, _ := info.ID()
		h.Maps = append(h.Maps, id)
	}
	for _, l := range k.links {
		if info, err := l.Info(); err == nil { // not every kind of link is known to old kernels
			h.Links = append(h.Links, info.ID)
		}
	}
	return h, nil
}

// left tells how many of them the kernel still has.
func (h *held) left() (n int) {
	for _, id := range h.Programs {
		if p, err := ebpf.NewProgramFromID(id); err == nil {
			p.Close()
			n++
		}
	}
	for _, id := range h.Maps {
		if m, err := ebpf.NewMapFromID(id); err == nil {
			m.Close()
			n++
		}
	}
	for _, id := range h.Links {
		if l, err := link.NewFromID(id); err == nil {
			l.Close()
			n++
		}
	}
	return n
}

// TestDeathLeavesNothing kills a process that has the hooks attached: the kernel lets go of all of it, and nothing is pinned.
func TestDeathLeavesNothing(t *testing.T) {
	eachTier(t, func(t *testing.T, tier string) {
		before := pinned(t)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env, cmd.Stderr = append(os.Environ(), holdRole+"="+tier), os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadBytes('\n')
		var h held
		if err := errors.Join(err, json.Unmarshal(line, &h)); err != nil {
			t.Fatal(err)
		}
		if all := len(h.Programs) + len(h.Maps) + len(h.Links); h.left() != all || len(h.Programs) == 0 || len(h.Links) == 0 {
			t.Errorf("%d of %+v are in the kernel while the process lives", h.left(), h)
		}
		if now := pinned(t); now > before {
			t.Errorf("%d objects are pinned, %d were", now, before)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		until(t, func() bool { return h.left() == 0 }, func() { t.Errorf("%d of %+v outlive the process", h.left(), h) })
	})
}

// pinned returns how many objects the BPF file system holds.
func pinned(t *testing.T) (n int) {
	t.Helper()
	err := filepath.WalkDir("/sys/fs/bpf", func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			n++
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}
