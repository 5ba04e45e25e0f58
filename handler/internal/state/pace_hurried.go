//go:build hurried

package state

const hurry = 100
