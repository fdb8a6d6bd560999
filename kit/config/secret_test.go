// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/busbar/busbar/kit/config"
)

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	write(t, file, "tökén ${env:NOT_AGAIN}\n")
	t.Setenv("BUSBAR_TEST_NAME", "name")
	t.Setenv("BUSBAR_TEST_EMPTY", "")
	for text, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"${env:BUSBAR_TEST_NAME}": "name",
		"a${env:BUSBAR_TEST_NAME}b${env:BUSBAR_TEST_NAME}c": "anamebnamec",
		"[${env:BUSBAR_TEST_EMPTY}]":                        "[]",
		"Bearer ${file:" + file + "}":                       "Bearer tökén ${env:NOT_AGAIN}",
		"$${env:X} costs $$5, ^a$ $b":                       "${env:X} costs $5, ^a$ $b",
		"$$${env:BUSBAR_TEST_NAME}":                         "$name",
	} {
		got, err := config.Expand(text)
		if err != nil || got.Reveal() != want {
			t.Errorf("%q is %q, %v", text, got.Reveal(), err)
		}
	}
	for text, want := range map[string]string{
		"${env:BUSBAR_TEST_UNSET}": "resolve ${env:BUSBAR_TEST_UNSET}: the variable is not set",
		"${file:" + dir + "/none}": "resolve ${file:" + dir + "/none}: no such file or directory",
		"${file:" + dir + "}":      "resolve ${file:" + dir + "}: not a regular file",
		"${file:}":                 "resolve ${file:}: want ${env:NAME} or ${file:PATH}",
		"${HOME}":                  "resolve ${HOME}: want ${env:NAME} or ${file:PATH}",
		"${env:a b}":               "resolve ${env:a b}: want ${env:NAME} or ${file:PATH}",
		"${}":                      "resolve ${}: want ${env:NAME} or ${file:PATH}",
		"secret${env:X":            "reference ${ is not closed",
		"${a}${env:BUSBAR_TEST_NAME}${b}": "resolve ${a}: want ${env:NAME} or ${file:PATH}\n" +
			"resolve ${b}: want ${env:NAME} or ${file:PATH}",
	} {
		got, err := config.Expand(text)
		if err == nil || err.Error() != want || got.Reveal() != "" {
			t.Errorf("%q is %q, %v", text, got.Reveal(), err)
		}
	}
}

func TestSecretDoesNotShow(t *testing.T) {
	t.Parallel()
	secret := config.NewSecret("hunter2")
	type nested struct {
		Open   config.Secret
		hidden config.Secret
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		for _, v := range []any{secret, &secret, nested{secret, secret}, []config.Secret{secret}, map[string]config.Secret{"k": secret}} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	fmt.Fprintln(&out, secret.String(), errors.New("with "+secret.String()))
	for _, v := range []any{secret, nested{Open: secret}, map[string]*config.Secret{"k": &secret}} {
		j, err := json.Marshal(v)
		y, err2 := yaml.Marshal(v)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		out.Write(j)
		out.Write(y)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "k", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "k", v)
	}
	if text := out.String(); strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
		t.Error(text)
	}
	if got := fmt.Sprintf("%v %s %d", secret, &secret, secret); got != "[redacted] [redacted] [redacted]" {
		t.Error(got)
	}
	if secret.Reveal() != "hunter2" || (config.Secret{}).Reveal() != "" {
		t.Error("a secret does not reveal itself")
	}
	if !secret.Equal(config.NewSecret("hunter2")) || secret.Equal(config.Secret{}) {
		t.Error("Equal does not compare texts")
	}
}

func FuzzExpand(f *testing.F) {
	for _, text := range []string{"", "$", "$$", "${", "${}", "${env:PATH}", "${file:/x}", "$${env:A}${"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := config.Expand(text)
		switch {
		case err != nil && got.Reveal() != "":
			t.Error("an error comes with a value")
		case err == nil && !strings.Contains(text, "$") && got.Reveal() != text:
			t.Errorf("%q became %q", text, got.Reveal())
		}
	})
}
