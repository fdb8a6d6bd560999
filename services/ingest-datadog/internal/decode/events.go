// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"encoding/json"
	"maps"
	"slices"
)

// Event is something that happened, as somebody tells it.
type Event struct {
	Title, Text, Host, Alert, Key, Priority, Source, Kind string
	Time                                                  uint64 // nanoseconds since the epoch; zero: when it came
	Tags                                                  []string
}

// Check is the state of something: 0 OK, 1 warning, 2 critical, 3 unknown.
type Check struct {
	Name, Host, Message string
	Status              int
	Time                uint64 // nanoseconds since the epoch; zero: when it came
	Tags                []string
}

type jsonEvent struct {
	Title    string   `json:"title"`
	Text     string   `json:"text"`
	MsgTitle string   `json:"msg_title"`
	MsgText  string   `json:"msg_text"`
	Host     string   `json:"host"`
	Alert    string   `json:"alert_type"`
	Key      string   `json:"aggregation_key"`
	Priority string   `json:"priority"`
	Source   string   `json:"source_type_name"`
	Kind     string   `json:"event_type"`
	Time     number   `json:"timestamp"`
	Happened number   `json:"date_happened"`
	Tags     []string `json:"tags"`
}

func (e jsonEvent) event() Event {
	return Event{
		Title: e.Title + e.MsgTitle, Text: e.Text + e.MsgText, Host: e.Host, Alert: e.Alert, Key: e.Key, Priority: e.Priority,
		Source: e.Source, Kind: e.Kind, Time: Nanoseconds(float64(max(e.Time, e.Happened))), Tags: e.Tags,
	}
}

// OneEvent reads /api/v1/events.
func OneEvent(body []byte) (Event, error) {
	var e jsonEvent
	err := decodeJSON(body, &e)
	return e.event(), err
}

// Intake is what /intake/ is used for: events, and things about hosts by the words that say what they are.
type Intake struct {
	Events []Event
	Others []string
}

// ReadIntake reads /intake/.
func ReadIntake(body []byte) (Intake, error) {
	var p struct {
		Host   string                 `json:"internalHostname"`
		Events map[string][]jsonEvent `json:"events"`
	}
	var keys map[string]json.RawMessage
	if err := decodeJSON(body, &keys); err != nil {
		return Intake{}, err
	}
	var out Intake
	for _, k := range []string{"host-tags", "gohai", "systemStats", "agentchecks", "agent_checks", "processes", "resources", "meta"} {
		if _, ok := keys[k]; ok {
			out.Others = append(out.Others, k)
		}
	}
	if _, ok := keys["events"]; !ok {
		return out, nil
	}
	if err := decodeJSON(body, &p); err != nil {
		return Intake{}, err
	}
	for _, source := range slices.Sorted(maps.Keys(p.Events)) {
		for _, e := range p.Events[source] {
			one := e.event()
			if one.Source == "" {
				one.Source = source
			}
			if one.Host == "" {
				one.Host = p.Host
			}
			out.Events = append(out.Events, one)
		}
	}
	return out, nil
}

// Checks reads /api/v1/check_run: an array or one object.
func Checks(body []byte) ([]Check, error) {
	type jsonCheck struct {
		Check   string   `json:"check"`
		Host    string   `json:"host_name"`
		Status  number   `json:"status"`
		Message string   `json:"message"`
		Time    number   `json:"timestamp"`
		Tags    []string `json:"tags"`
	}
	var all []jsonCheck
	if err := decodeJSON(body, &all); err != nil {
		var one jsonCheck
		if decodeJSON(body, &one) != nil {
			return nil, err
		}
		all = []jsonCheck{one}
	}
	out := make([]Check, 0, len(all))
	for _, c := range all {
		out = append(out, Check{c.Check, c.Host, c.Message, int(c.Status), Nanoseconds(float64(c.Time)), c.Tags})
	}
	return out, nil
}
