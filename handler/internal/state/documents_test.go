package state_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"podwatch/handler/internal/azurite"
	"podwatch/handler/internal/config"
	"podwatch/handler/internal/state"
	"podwatch/handler/internal/storage"
)

// TestInMemoryAndOnAzurite runs what does not depend on time on both documents that
// there are. fresh returns documents of which none exists, in a container that does
// not exist either.
func TestInMemoryAndOnAzurite(t *testing.T) {
	t.Parallel()
	suite := func(t *testing.T, fresh func(*testing.T) state.Documents) {
		t.Run("documents", func(t *testing.T) { testDocuments(t, fresh) })
		t.Run("ledger", func(t *testing.T) { testLedger(t, fresh) })
		t.Run("storms", func(t *testing.T) { testStorms(t, fresh) })
		t.Run("feed", func(t *testing.T) { testFeed(t, fresh) })
		t.Run("dead letters", func(t *testing.T) { testDeadLetters(t, fresh) })
	}
	t.Run("memory", func(t *testing.T) {
		suite(t, func(*testing.T) state.Documents { return state.NewMemory() })
	})
	t.Run("azurite", func(t *testing.T) {
		account, err := storage.Open(&config.Storage{ConnectionString: config.Secret(azurite.Start(t))}, nil)
		if err != nil {
			t.Fatal(err)
		}
		containers := 0
		suite(t, func(*testing.T) state.Documents {
			containers++
			return account.Documents(fmt.Sprintf("state%d", containers))
		})
	})
}

// testDocuments is the contract of Documents.
func testDocuments(t *testing.T, fresh func(*testing.T) state.Documents) {
	t.Run("nothing exists at first", func(t *testing.T) {
		d := fresh(t)
		if _, err := d.Fetch(t.Context(), "a"); !errors.Is(err, state.ErrAbsent) {
			t.Errorf("Fetch: %v, want ErrAbsent", err)
		}
		if _, err := d.Replace(t.Context(), state.Document{Name: "a", Version: "v"}, []byte("x")); !errors.Is(err, state.ErrChanged) {
			t.Errorf("Replace: %v, want ErrChanged", err)
		}
		if err := d.Delete(t.Context(), state.Document{Name: "a"}); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantNames(t, d, "")
	})
	t.Run("a document is created once", func(t *testing.T) {
		d := fresh(t)
		create(t, d, "a", "one")
		if _, err := d.Create(t.Context(), "a", []byte("two")); !errors.Is(err, state.ErrExists) {
			t.Errorf("Create: %v, want ErrExists", err)
		}
		wantText(t, d, "a", "one")
	})
	t.Run("of two changes of one version the second fails", func(t *testing.T) {
		d := fresh(t)
		created := create(t, d, "a", "one")
		fetched, err := d.Fetch(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		second, err := d.Replace(t.Context(), created, []byte("two"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Replace(t.Context(), fetched, []byte("three")); !errors.Is(err, state.ErrChanged) {
			t.Errorf("Replace: %v, want ErrChanged", err)
		}
		if err := d.Delete(t.Context(), fetched); !errors.Is(err, state.ErrChanged) {
			t.Errorf("Delete: %v, want ErrChanged", err)
		}
		wantText(t, d, "a", "two")
		if err := d.Delete(t.Context(), second); err != nil {
			t.Error(err)
		}
		wantNames(t, d, "")
	})
	t.Run("without a version any version is deleted", func(t *testing.T) {
		d := fresh(t)
		create(t, d, "a", "one")
		if err := d.Delete(t.Context(), state.Document{Name: "a"}); err != nil {
			t.Error(err)
		}
		wantNames(t, d, "")
	})
	t.Run("names are listed by prefix, in order", func(t *testing.T) {
		d := fresh(t)
		for _, name := range []string{"b/2", "a/1", "b/1", "b"} {
			create(t, d, name, "")
		}
		wantNames(t, d, "b/", "b/1", "b/2")
		wantNames(t, d, "", "a/1", "b", "b/1", "b/2")
		for range d.List(t.Context(), "") {
			break
		}
	})
	t.Run("an empty document is one", func(t *testing.T) {
		d := fresh(t)
		create(t, d, "a", "")
		wantText(t, d, "a", "")
	})
	t.Run("many changes at once lose none", func(t *testing.T) {
		d := fresh(t)
		create(t, d, "a", "")
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for {
					old, err := d.Fetch(t.Context(), "a")
					if err != nil {
						t.Error(err)
						return
					}
					_, err = d.Replace(t.Context(), old, append(old.Data, 'x'))
					if !errors.Is(err, state.ErrChanged) {
						if err != nil {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		all.Wait()
		wantText(t, d, "a", "xxxxxxxx")
	})
	t.Run("nothing is done for a context that ended", func(t *testing.T) {
		d := fresh(t)
		created := create(t, d, "a", "one")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, fetch := d.Fetch(ctx, "a")
		_, again := d.Create(ctx, "b", nil)
		_, replace := d.Replace(ctx, created, nil)
		for name, err := range map[string]error{"Fetch": fetch, "Create": again, "Replace": replace, "Delete": d.Delete(ctx, created)} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v, want that of the context", name, err)
			}
		}
		wantText(t, d, "a", "one")
		wantNames(t, d, "", "a")
	})
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	d := state.NewMemory()
	for i := range 20_001 {
		create(t, d, fmt.Sprint(i), "")
	}
	if _, err := d.Fetch(t.Context(), "0"); !errors.Is(err, state.ErrAbsent) {
		t.Errorf("Fetch of the oldest: %v, want ErrAbsent", err)
	}
	wantText(t, d, "1", "")
}

func create(t *testing.T, d state.Documents, name, text string) state.Document {
	t.Helper()
	created, err := d.Create(t.Context(), name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return created
}

func wantText(t *testing.T, d state.Documents, name, want string) {
	t.Helper()
	got, err := d.Fetch(t.Context(), name)
	if err != nil || string(got.Data) != want || got.Name != name || got.Version == "" || got.Age < 0 {
		t.Errorf("Fetch(%q) = %q, %+v, %v; want the text %q", name, got.Data, got, err, want)
	}
}

func wantNames(t *testing.T, d state.Documents, prefix string, want ...string) {
	t.Helper()
	var names []string
	for name, err := range d.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if !slices.Equal(names, want) {
		t.Errorf("List(%q) = %s, want %s", prefix, strings.Join(names, " "), strings.Join(want, " "))
	}
}
