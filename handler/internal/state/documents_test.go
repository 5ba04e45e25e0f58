package state_test

import (
	"testing"

	"podwatch/handler/internal/state"
)

func onEach(t *testing.T, f func(t *testing.T, fresh func(*testing.T) state.Documents)) {
	t.Run("memory", func(t *testing.T) { f(t, func(*testing.T) state.Documents { return state.NewMemory() }) })
}
