// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"testing"

	"github.com/busbar/busbar/kit/config"
)

func TestJSONSchema(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/schema.json", string(config.JSONSchema(testKinds(t))))
}
