// SPDX-License-Identifier: Apache-2.0

package mapping

import "strings"

// unit returns the UCUM name of a unit of Datadog's.
func unit(name string) string {
	if of, per, ok := strings.Cut(name, "/"); ok {
		return unit(of) + "/" + unit(per)
	}
	switch name {
	case "":
		return ""
	case "byte", "bytes":
		return "By"
	case "kibibyte":
		return "KiBy"
	case "mebibyte":
		return "MiBy"
	case "gibibyte":
		return "GiBy"
	case "tebibyte":
		return "TiBy"
	case "kilobyte":
		return "kBy"
	case "megabyte":
		return "MBy"
	case "gigabyte":
		return "GBy"
	case "terabyte":
		return "TBy"
	case "bit":
		return "bit"
	case "nanosecond":
		return "ns"
	case "microsecond":
		return "us"
	case "millisecond":
		return "ms"
	case "second":
		return "s"
	case "minute":
		return "min"
	case "hour":
		return "h"
	case "day":
		return "d"
	case "week":
		return "wk"
	case "percent":
		return "%"
	case "fraction":
		return "1"
	case "hertz":
		return "Hz"
	case "megahertz":
		return "MHz"
	case "gigahertz":
		return "GHz"
	case "degree celsius":
		return "Cel"
	case "volt":
		return "V"
	case "ampere":
		return "A"
	case "watt":
		return "W"
	case "joule":
		return "J"
	}
	return "{" + strings.Map(plain, name) + "}"
}

// plain is a character that may stand in an annotation of UCUM.
func plain(r rune) rune {
	if r == '{' || r == '}' || r <= ' ' || r > '~' {
		return '_'
	}
	return r
}
