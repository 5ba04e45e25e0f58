package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bytedance/sonic"
	"github.com/itchyny/gojq"
	"github.com/tidwall/gjson"
	"github.com/valyala/fastjson"
)

// This file has the peers. Each finds the records of one rule, in the way in which
// its library is meant to be used: Pods Deleted, of a cluster's audit log or of the
// activity log. None of them judges routine, looks for neighbours or survives text
// that is malformed.

// podsDeleted is the operation of the activity log.
const podsDeleted = "MICROSOFT.KUBERNETES/CONNECTEDCLUSTERS/PODS/DELETE"

// A record is what a peer with types reads of one.
type record struct {
	Category      string `json:"category"`
	OperationName string `json:"operationName"`
	ResultType    string `json:"resultType"`
	Properties    struct {
		Log string `json:"log"`
	} `json:"properties"`
}

func (r *record) isActivity() bool {
	return strings.EqualFold(r.OperationName, podsDeleted) && strings.EqualFold(r.ResultType, "success")
}

// An audit is what a peer with types reads of an audit event.
type audit struct {
	Stage     string `json:"stage"`
	Verb      string `json:"verb"`
	ObjectRef struct {
		Resource    string `json:"resource"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	ResponseStatus struct {
		Code int `json:"code"`
	} `json:"responseStatus"`
}

func (a *audit) isDeletion() bool {
	return a.Stage == "ResponseComplete" && a.Verb == "delete" && a.ObjectRef.Resource == "pods" &&
		a.ObjectRef.Subresource == "" && a.ResponseStatus.Code/100 == 2
}

type envelope struct {
	Data struct {
		Events string `json:"events"`
	}
}

// messagesOf decodes the host's envelope with encoding/json.
func messagesOf(body []byte) (messages []string, err error) {
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return nil, err
	}
	err = json.Unmarshal([]byte(e.Data.Events), &messages)
	return messages, err
}

// decodeAll is the obvious handler: encoding/json into maps.
func decodeAll(body []byte) (found int, err error) {
	messages, err := messagesOf(body)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		var message struct{ Records []map[string]any }
		if err := json.Unmarshal([]byte(m), &message); err != nil {
			return 0, err
		}
		for _, r := range message.Records {
			operation, _ := r["operationName"].(string)
			result, _ := r["resultType"].(string)
			properties, _ := r["properties"].(map[string]any)
			text, audited := properties["log"].(string)
			switch {
			case strings.EqualFold(operation, podsDeleted) && strings.EqualFold(result, "success"):
				found++
			case audited:
				var log map[string]any
				if err := json.Unmarshal([]byte(text), &log); err != nil {
					return 0, err
				}
				object, _ := log["objectRef"].(map[string]any)
				status, _ := log["responseStatus"].(map[string]any)
				code, _ := status["code"].(float64)
				if log["stage"] == "ResponseComplete" && log["verb"] == "delete" && object["resource"] == "pods" && object["subresource"] == nil && int(code)/100 == 2 {
					found++
				}
			}
		}
	}
	return found, nil
}

// jqProgram is the rule in jq.
const jqProgram = `[.Data.events | fromjson | .[] | fromjson | .records[] | select(
  ((.operationName | ascii_upcase) == "` + podsDeleted + `" and (.resultType | ascii_downcase) == "success") or
  (.properties.log != null and (.properties.log | fromjson |
    .verb == "delete" and .stage == "ResponseComplete" and .objectRef.resource == "pods" and .objectRef.subresource == null and
    .responseStatus.code >= 200 and .responseStatus.code < 300)))] | length`

func newGojq() (contestant, error) {
	query, err := gojq.Parse(jqProgram)
	if err != nil {
		return contestant{}, err
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return contestant{}, err
	}
	return peer(func(body []byte) (int, error) {
		var input any
		if err := json.Unmarshal(body, &input); err != nil {
			return 0, err
		}
		result, _ := code.Run(input).Next()
		found, ok := result.(int)
		if !ok {
			return 0, fmt.Errorf("jq returned %v", result)
		}
		return found, nil
	}), nil
}

// countGjson reads only the members that the rule asks for.
func countGjson(body []byte) (found int, err error) {
	gjson.Parse(gjson.GetBytes(body, "Data.events").Str).ForEach(func(_, message gjson.Result) bool {
		gjson.Get(message.Str, "records").ForEach(func(_, r gjson.Result) bool {
			if strings.EqualFold(r.Get("operationName").Str, podsDeleted) && strings.EqualFold(r.Get("resultType").Str, "success") {
				found++
			} else if log := r.Get("properties.log").Str; gjson.Get(log, "verb").Str == "delete" &&
				gjson.Get(log, "stage").Str == "ResponseComplete" && gjson.Get(log, "objectRef.resource").Str == "pods" &&
				gjson.Get(log, "objectRef.subresource").Str == "" && gjson.Get(log, "responseStatus.code").Int()/100 == 2 {
				found++
			}
			return true
		})
		return true
	})
	return found, nil
}

// countSonic decodes into types, which sonic compiles decoders for.
func countSonic(body []byte) (found int, err error) {
	var e envelope
	var messages []string
	if err := sonic.ConfigFastest.Unmarshal(body, &e); err != nil {
		return 0, err
	}
	if err := sonic.ConfigFastest.UnmarshalFromString(e.Data.Events, &messages); err != nil {
		return 0, err
	}
	for _, m := range messages {
		var message struct {
			Records []record `json:"records"`
		}
		if err := sonic.ConfigFastest.UnmarshalFromString(m, &message); err != nil {
			return 0, err
		}
		for _, r := range message.Records {
			if r.isActivity() {
				found++
			} else if r.Properties.Log != "" {
				var a audit
				if err := sonic.ConfigFastest.UnmarshalFromString(r.Properties.Log, &a); err != nil {
					return 0, err
				}
				if a.isDeletion() {
					found++
				}
			}
		}
	}
	return found, nil
}

// A falco reads as Falco's plugin k8saudit-aks 0.6 does: encoding/json for the
// message; fastjson validates, parses and writes the audit text again, and Falco's
// engine has it parsed once more to extract the fields of rules.
type falco struct{ fields fastjson.Parser }

func (f *falco) count(body []byte) (found int, err error) {
	messages, err := messagesOf(body)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		var message struct {
			Records []record `json:"records"`
		}
		if err := json.Unmarshal([]byte(m), &message); err != nil {
			return 0, err
		}
		for _, r := range message.Records {
			if r.isActivity() {
				found++
			} else if log := []byte(r.Properties.Log); fastjson.ValidateBytes(log) == nil {
				deletion, err := f.isDeletion(log)
				if err != nil {
					return 0, err
				}
				if deletion {
					found++
				}
			}
		}
	}
	return found, nil
}

func (f *falco) isDeletion(log []byte) (bool, error) {
	read, err := fastjson.ParseBytes(log)
	if err != nil {
		return false, err
	}
	if _, err := time.Parse(time.RFC3339Nano, string(read.GetStringBytes("stageTimestamp"))); err != nil {
		return false, err
	}
	v, err := f.fields.ParseBytes(read.MarshalTo(nil))
	if err != nil {
		return false, err
	}
	return string(v.GetStringBytes("verb")) == "delete" && string(v.GetStringBytes("stage")) == "ResponseComplete" &&
		string(v.GetStringBytes("objectRef", "resource")) == "pods" && v.Get("objectRef", "subresource") == nil &&
		v.GetInt("responseStatus", "code")/100 == 2, nil
}
