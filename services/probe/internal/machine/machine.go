// SPDX-License-Identifier: Apache-2.0

// Package machine reads what the machine says about itself: its id, its operating system, and which cloud it is in as far as the
// firmware tells. No network is asked: a cloud's metadata service hands out credentials too, and many forbid their nodes to call it.
package machine

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	eventv1 "github.com/busbar/busbar/contract/event/v1"
)

// maxFile bounds what is read of a file, and maxText what is kept of a value.
const (
	maxFile = 16 << 10
	maxText = 255
)

// Paths are where to look.
type Paths struct {
	Roots []string // of file systems of the machine, the best first
	DMI   string   // what the firmware says
}

// DefaultPaths are those of a machine whose procfs is mounted at procRoot. A probe in a container reads the machine's files through
// process 1, and its own if it may not.
func DefaultPaths(procRoot string) Paths {
	return Paths{Roots: []string{filepath.Join(procRoot, "1/root"), "/"}, DMI: "/sys/class/dmi/id"}
}

// Read describes the machine. What cannot be read is empty.
func Read(paths Paths) *eventv1.Host {
	h := &eventv1.Host{Id: machineID(paths.first("etc/machine-id", "var/lib/dbus/machine-id")), Architecture: architecture(runtime.GOARCH), Kernel: kernel()}
	release := osRelease(paths.first("etc/os-release", "usr/lib/os-release"))
	h.OsName, h.OsVersion, h.OsDescription = release["NAME"], release["VERSION_ID"], release["PRETTY_NAME"]
	h.CloudProvider, h.CloudInstance, h.CloudType = cloud(func(name string) string { return read(filepath.Join(paths.DMI, name)) })
	return h
}

// first returns the content of the first of some files that there is.
func (p Paths) first(names ...string) string {
	for _, root := range p.Roots {
		for _, name := range names {
			if text := read(filepath.Join(root, name)); text != "" {
				return text
			}
		}
	}
	return ""
}

func read(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(strings.ToValidUTF8(string(data), ""))
}

// machineID is the content of machine-id(5), or "" while the machine has none: it then says "uninitialized".
func machineID(text string) string {
	const digits = 32
	if len(text) != digits || strings.Trim(text, "0123456789abcdef") != "" {
		return ""
	}
	return text
}

// osRelease reads os-release(5): assignments as a shell has them, without expansion.
func osRelease(text string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		if len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'' {
			value = value[1 : len(value)-1]
		} else if unquoted, err := strconv.Unquote(value); err == nil {
			value = unquoted
		}
		out[name] = clip(value)
	}
	return out
}

func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return ""
	}
	return clip(unix.ByteSliceToString(u.Release[:]))
}

// architecture is the value of host.arch for what Go calls the architecture.
func architecture(goarch string) string {
	switch goarch {
	case "386":
		return "x86"
	case "arm":
		return "arm32"
	case "ppc64le":
		return "ppc64"
	}
	return goarch
}

// azureTag is what the chassis of every machine in Azure says.
const azureTag = "7783-7084-3265-9085-8269-3286-77"

// cloud tells the cloud, the instance and its type from what the firmware says (SMBIOS, as Linux shows it). Only EC2 tells the last two
// to everybody.
func cloud(dmi func(name string) string) (provider, instance, kind string) {
	vendor, product, chassis := dmi("sys_vendor"), dmi("product_name"), dmi("chassis_asset_tag")
	switch {
	case vendor == "Amazon EC2":
		if tag := dmi("board_asset_tag"); strings.HasPrefix(tag, "i-") {
			instance = clip(tag)
		}
		return "aws", instance, clip(product)
	case dmi("bios_vendor") == "Xen" && strings.HasSuffix(dmi("bios_version"), ".amazon"): // the generation before
		return "aws", "", ""
	case product == "Google Compute Engine":
		return "gcp", "", ""
	case chassis == azureTag:
		return "azure", "", ""
	case chassis == "OracleCloud.com":
		return "oracle_cloud", "", ""
	case product == "OpenStack Nova" || product == "OpenStack Compute":
		return "openstack", "", ""
	}
	switch vendor {
	case "Alibaba Cloud":
		return "alibaba_cloud", "", ""
	case "Tencent Cloud":
		return "tencent_cloud", "", ""
	case "Akamai", "Linode":
		return "akamai_cloud", "", ""
	case "Hetzner":
		return "hetzner", "", ""
	case "Vultr":
		return "vultr", "", ""
	case "DigitalOcean":
		return "digitalocean", "", ""
	case "Scaleway":
		return "scaleway", "", ""
	}
	return "", "", ""
}

func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}
