//go:build !hurried

package state

// hurry divides the times that instances wait for each other: of claims, posts and
// storms. The fault test, which provokes all of these waits, builds the handler
// with the tag hurried.
const hurry = 1
