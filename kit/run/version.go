// SPDX-License-Identifier: Apache-2.0

package run

import "runtime/debug"

// version is set by the linker in releases: -ldflags "-X github.com/busbar/busbar/kit/run.version=v1.2.3".
var version string

// Version names the build of this program: the release, else the version that `go install` fetched, else "dev" with
// the commit where the tool chain recorded one.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "dev"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	v, suffix := "dev", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			v += "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			suffix = "-modified"
		}
	}
	return v + suffix
}
