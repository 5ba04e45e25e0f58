package exception

// AlertFields are the names of what an exception can query besides the event.
func AlertFields() (names []string) {
	for _, f := range alertFields {
		names = append(names, f.name)
	}
	return names
}
