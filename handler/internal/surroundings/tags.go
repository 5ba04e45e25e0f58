package surroundings

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/lookup"
)

const (
	keepTagging = 10 * time.Minute
	maxTags     = 50 // Azure's own limit for a resource
)

// A tagging is what is known of a cluster's tags.
type tagging struct {
	tags    map[string]string
	note    string // why there are none
	expires time.Time
}

// clusterID is the form of the ids that are asked about. Ids come from records:
// nothing in them may lead to another address.
var clusterID = regexp.MustCompile(`(?i)^/subscriptions/[0-9a-f-]{36}/resourceGroups/[\p{L}\p{N}_().-]{1,90}/providers/[A-Za-z0-9.]{1,80}/[A-Za-z0-9]{1,80}/[A-Za-z0-9_.-]{1,100}$`)

// tagsOf asks for the tags of a cluster; the answer, also that there is none,
// is kept for a while.
func (s *Surroundings) tagsOf(ctx context.Context, cluster string) tagging {
	key := strings.ToLower(strings.TrimRight(cluster, "/"))
	if t, ok := s.tags.Get(key); ok && s.opts.Now().Before(t.expires) {
		return t
	}
	segments := strings.Split(key, "/")
	if !clusterID.MatchString(key) || slices.Contains(segments, "..") || slices.Contains(segments, ".") {
		return tagging{note: "the cluster's tags were not looked up: its resource id is not of the usual form"}
	}
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	var answer struct {
		Properties struct {
			Tags map[string]string `json:"tags"`
		} `json:"properties"`
	}
	err := s.client.Do(ctx, lookup.Request{
		Method: http.MethodGet, Path: strings.Join(segments, "/") + "/providers/Microsoft.Resources/tags/default",
		Query: url.Values{"api-version": {"2021-04-01"}}, Area: "tags of " + key,
	}, &answer)
	t := tagging{tags: answer.Properties.Tags, expires: s.opts.Now().Add(keepTagging)}
	if err != nil {
		t = tagging{note: "the cluster's tags are not known: " + err.Error() + remedy(err, "Reader on the cluster"), expires: t.expires}
		if !lookup.Is(err, lookup.NotFound) {
			return t // the client remembers failures for as long as they last
		}
	}
	for i, name := range slices.Sorted(maps.Keys(t.tags)) {
		if i >= maxTags {
			delete(t.tags, name)
		}
	}
	s.tags.Add(key, t)
	return t
}
