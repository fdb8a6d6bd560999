// SPDX-License-Identifier: Apache-2.0

// Package obfuscate takes values out of what tracers say, as the Agent does that they are meant to send to: literals of SQL, arguments of
// Redis and Memcached, values in queries of MongoDB and Elasticsearch, queries of URLs, numbers of payment cards.
package obfuscate

import (
	"strings"
	"sync"

	"github.com/DataDog/datadog-agent/pkg/obfuscate"
)

// Hider hides values with the code of the Agent itself. It may be used from several goroutines.
type Hider struct{ pool sync.Pool }

// New returns a Hider.
func New() *Hider {
	cfg := obfuscate.Config{
		SQL:        obfuscate.SQLConfig{TableNames: true, ReplaceDigits: false, DollarQuotedFunc: true},
		ES:         obfuscate.JSONConfig{Enabled: true},
		OpenSearch: obfuscate.JSONConfig{Enabled: true},
		Mongo:      obfuscate.JSONConfig{Enabled: true},
		HTTP:       obfuscate.HTTPConfig{RemoveQueryString: true},
		CreditCard: obfuscate.CreditCardsConfig{Enabled: true, Luhn: true},
	}
	return &Hider{pool: sync.Pool{New: func() any { return obfuscate.NewObfuscator(cfg) }}}
}

// with lends an obfuscator, which is for one goroutine at a time. One that panics is not used again, and nothing of the text is kept.
func (h *Hider) with(text string, f func(o *obfuscate.Obfuscator, text string) string) (out string) {
	if text == "" {
		return ""
	}
	defer func() {
		if recover() != nil {
			out = hidden
		}
	}()
	o := h.pool.Get().(*obfuscate.Obfuscator)
	out = f(o, text)
	h.pool.Put(o)
	return out
}

// hidden stands for what cannot be read, and so not be told from what is to be hidden.
const hidden = "?"

// SQL takes the literals out of a statement and names its tables, parted by commas.
func (h *Hider) SQL(statement, system string) (out, tables string) {
	out = h.with(statement, func(o *obfuscate.Obfuscator, s string) string {
		q, err := o.ObfuscateSQLStringForDBMS(s, system)
		if err != nil {
			return hidden
		}
		tables = q.Metadata.TablesCSV
		return q.Query
	})
	return out, tables
}

// Redis takes the arguments that are values out of commands.
func (h *Hider) Redis(command string) string {
	return h.with(command, func(o *obfuscate.Obfuscator, s string) string { return o.ObfuscateRedisString(s) })
}

// Memcached takes the values out of a command.
func (h *Hider) Memcached(command string) string {
	return h.with(command, func(o *obfuscate.Obfuscator, s string) string { return o.ObfuscateMemcachedString(s) })
}

// JSON takes the values out of a query of system: mongodb, elasticsearch, opensearch.
func (h *Hider) JSON(query, system string) string {
	return h.with(query, func(o *obfuscate.Obfuscator, s string) string {
		switch system {
		case "elasticsearch":
			return o.ObfuscateElasticSearchString(s)
		case "opensearch":
			return o.ObfuscateOpenSearchString(s)
		}
		return o.ObfuscateMongoDBString(s)
	})
}

// URL takes user information, the query and the fragment out of an address.
func (h *Hider) URL(address string) string {
	address, _, _ = strings.Cut(address, "#")
	return h.with(address, func(o *obfuscate.Obfuscator, s string) string {
		return strings.TrimSuffix(o.ObfuscateURLString(s), "?")
	})
}

// Card takes the numbers of payment cards out of the value of an attribute.
func (h *Hider) Card(key, value string) string {
	if len(value) < 12 || value[0] > '9' && value[0] != ' ' {
		return value
	}
	return h.with(value, func(o *obfuscate.Obfuscator, s string) string {
		if !o.ShouldObfuscateCCKey(key) {
			return s
		}
		return o.ObfuscateCreditCardNumber(s)
	})
}
