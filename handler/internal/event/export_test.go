package event

// TenantID is the tenant of the record, else that of the caller's token.
func (e *Event) TenantID() string {
	id := asText(e.tenant())
	if id == "" && e.Dataset() == ActivityLogs {
		id = asText(e.identity().claims["http://schemas.microsoft.com/identity/claims/tenantid"])
	}
	return id
}
