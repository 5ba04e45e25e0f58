package surroundings

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/outbound"
)

const (
	keepTagging = 10 * time.Minute
	maxTags     = 50 // Azure's own limit for a resource
)

// A tagging is what is known of a cluster's tags.
type tagging struct {
	tags    map[string]string
	notes   []string // why there are none
	expires time.Time
}

// tagsOf asks for the tags of a cluster; the answer, also that there is none,
// is kept for a while.
func (s *Surroundings) tagsOf(ctx context.Context, cluster string) tagging {
	id, ok := arm.Parse(cluster)
	subscription, isGUID := arm.ParseGUID(id.Subscription)
	if !ok || !isGUID || id.Group == "" || id.Type == "" || strings.Contains(id.Type, "/") {
		return tagging{notes: []string{"the cluster's tags were not looked up: its resource id is not of the usual form"}}
	}
	if t, ok := s.tags.Get(id.Key()); ok && s.now().Before(t.expires) {
		return t
	}
	segments := strings.Split(id.Key(), "/")
	for i, segment := range segments {
		segments[i] = url.PathEscape(segment)
	}
	var answer struct {
		Properties struct {
			Tags map[string]string `json:"tags"`
		} `json:"properties"`
	}
	err := s.lookup.Ask(ctx, outbound.Question{
		URL:     s.lookup.URL(strings.Join(segments, "/")+"/providers/Microsoft.Resources/tags/default", url.Values{"api-version": {"2021-04-01"}}),
		Service: subscription, Area: "tags of " + id.Key(),
	}, &answer)
	t := tagging{tags: answer.Properties.Tags, expires: s.now().Add(keepTagging)}
	if err != nil {
		note := "the cluster's tags are not known: " + err.Error() + outbound.Remedy(err, "Reader on the cluster")
		t = tagging{notes: []string{note}, expires: t.expires}
		if !outbound.Answered(err, http.StatusNotFound) {
			return t // the look-up remembers failures for as long as they last
		}
	}
	for i, name := range slices.Sorted(maps.Keys(t.tags)) {
		if i >= maxTags {
			delete(t.tags, name)
		}
	}
	s.tags.Add(strings.Clone(id.Key()), t) // an id shares the memory of its record
	return t
}
