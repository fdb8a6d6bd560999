// SPDX-License-Identifier: Apache-2.0

package machine_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
	"github.com/busbar/busbar/services/probe/internal/machine"
)

// tree writes files and returns their folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	id     = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n# comment=x\nVERSION_ID=\"12\"\nID=debian\n"
)

func TestRead(t *testing.T) {
	t.Parallel()
	plain := func(change func(h *eventv1.Host)) *eventv1.Host {
		h := &eventv1.Host{Id: id, OsName: "Debian GNU/Linux", OsVersion: "12", OsDescription: "Debian GNU/Linux 12 (bookworm)"}
		if change != nil {
			change(h)
		}
		return h
	}
	etc := map[string]string{"etc/machine-id": id + "\n", "etc/os-release": debian}
	for name, c := range map[string]struct {
		roots []map[string]string
		dmi   map[string]string
		want  *eventv1.Host
	}{
		"plain":      {[]map[string]string{etc}, nil, plain(nil)},
		"first root": {[]map[string]string{etc, {"etc/machine-id": strings.Repeat("0", 32)}}, nil, plain(nil)},
		"second root": {
			[]map[string]string{{}, {"var/lib/dbus/machine-id": id, "usr/lib/os-release": "NAME='A  B'\nVERSION_ID=3.20\n"}}, nil,
			&eventv1.Host{Id: id, OsName: "A  B", OsVersion: "3.20"},
		},
		"uninitialized": {[]map[string]string{{"etc/machine-id": "uninitialized\n"}}, nil, &eventv1.Host{}},
		"not UTF-8":     {[]map[string]string{{"etc/os-release": "NAME=a\xffb\nVERSION_ID=\"1\\\n"}}, nil, &eventv1.Host{OsName: "ab", OsVersion: `"1\`}},
		"ec2": {[]map[string]string{etc}, map[string]string{
			"sys_vendor": "Amazon EC2\n", "product_name": "m7i.large\n", "board_asset_tag": "i-0123456789abcdef0\n",
		}, plain(func(h *eventv1.Host) {
			h.CloudProvider, h.CloudInstance, h.CloudType = "aws", "i-0123456789abcdef0", "m7i.large"
		})},
		"ec2 on xen": {[]map[string]string{etc}, map[string]string{"sys_vendor": "Xen", "bios_vendor": "Xen", "bios_version": "4.11.amazon"}, plain(func(h *eventv1.Host) {
			h.CloudProvider = "aws"
		})},
		"gce":     {[]map[string]string{etc}, map[string]string{"sys_vendor": "Google", "product_name": "Google Compute Engine"}, plain(func(h *eventv1.Host) { h.CloudProvider = "gcp" })},
		"azure":   {[]map[string]string{etc}, map[string]string{"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"}, plain(func(h *eventv1.Host) { h.CloudProvider = "azure" })},
		"hyper-v": {[]map[string]string{etc}, map[string]string{"sys_vendor": "Microsoft Corporation", "chassis_asset_tag": "1234"}, plain(nil)},
		"hetzner": {[]map[string]string{etc}, map[string]string{"sys_vendor": "Hetzner"}, plain(func(h *eventv1.Host) { h.CloudProvider = "hetzner" })},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			paths := machine.Paths{DMI: tree(t, c.dmi)}
			for _, files := range c.roots {
				paths.Roots = append(paths.Roots, tree(t, files))
			}
			got := machine.Read(paths)
			if got.GetKernel() == "" || runtime.GOARCH == "amd64" && got.GetArchitecture() != "amd64" {
				t.Errorf("kernel %q, architecture %q", got.GetKernel(), got.GetArchitecture())
			}
			got.Kernel, got.Architecture = "", ""
			if d := cmp.Diff(c.want, got, protocmp.Transform()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}
