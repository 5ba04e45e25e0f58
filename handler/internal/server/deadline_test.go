package server_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"podwatch/handler/internal/alert"
	"podwatch/handler/internal/pipeline"
	"podwatch/handler/internal/server"
)

// slowBody takes its time to arrive, though it never stalls.
type slowBody struct{ rest io.Reader }

func (b *slowBody) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	return b.rest.Read(p[:min(len(p), 10)])
}

// timed notes how much time the work has when it begins.
type timed struct {
	fake
	left time.Duration
}

func (f *timed) note(ctx context.Context) {
	end, _ := ctx.Deadline()
	f.left = time.Until(end)
}

func (f *timed) DetectAmong(ctx context.Context, _ pipeline.Input) *pipeline.Batch {
	f.note(ctx)
	return &pipeline.Batch{}
}

func (f *timed) Redeliver(ctx context.Context, _ *alert.Alert) (pipeline.Counts, error) {
	f.note(ctx)
	return pipeline.Counts{}, nil
}

func (f *timed) Heartbeat(ctx context.Context) (pipeline.Counts, error) {
	f.note(ctx)
	return pipeline.Counts{}, nil
}

func TestABodyThatArrivesSlowlyTakesNoTimeFromTheWork(t *testing.T) {
	for function, body := range map[string]string{
		"Detect":    oneMessage,
		"Redeliver": `{"Data":{"alert":"\"{\\\"AlertId\\\":\\\"a1\\\",\\\"RuleId\\\":\\\"r\\\"}\""},"Metadata":{}}`,
		"Heartbeat": `{"Data":{"timer":{"IsPastDue":false}},"Metadata":{}}`,
	} {
		t.Run(function, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				work := &timed{}
				handler := server.New(server.Options{
					Pipeline: work, BodyLimit: 1 << 20, Deadline: 90 * time.Second, Log: slog.New(slog.DiscardHandler),
				})
				request := httptest.NewRequest(http.MethodPost, "/"+function, &slowBody{strings.NewReader(body)})
				request.Header.Set("Content-Type", "application/json")
				answer := httptest.NewRecorder()
				handler.ServeHTTP(answer, request)
				if answer.Code != http.StatusOK || work.left != 90*time.Second {
					t.Errorf("status %d %s; the work had %v left, want 90 s", answer.Code, answer.Body, work.left)
				}
			})
		})
	}
}
