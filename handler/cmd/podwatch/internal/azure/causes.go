package azure

import (
	"cmp"
	"errors"
	"net/http"
	"strings"
	"time"
)

// A Cause is why something failed, in words for people.
type Cause struct {
	What   string        // a clause
	Cure   string        // what to do about it; "": nothing but waiting
	Passes time.Duration // how long it may take to pass by itself; 0: it does not pass
}

// Where an error was met, for Explain.
const (
	Publishing = "publish"
	Syncing    = "sync" // of triggers, and what asks the running host
	Uploading  = "upload"
	Querying   = "query"
	Deploying  = "deploy"
	Anywhere   = ""
)

// A row of the table of causes: the first one that fits an error is its cause.
type row struct {
	where  string // Anywhere: in every place
	status int    // 0: any
	texts  string // all of them, separated by "|", are in the answer
	Cause
}

const (
	rolePasses     = 5 * time.Minute // a data role of the app or of the operator
	queryPasses    = time.Hour       // the right to query
	frontEndPasses = 5 * time.Minute
)

var causes = []row{
	{Publishing, 0, "BlobUploadFailedException|specified container does not exist", Cause{What: "the container of packages does not exist",
		Cure: "deploy the template again, which creates the container deployments"}},
	{Publishing, 0, "BlobUploadFailedException|403", Cause{What: "the app's identity may not write the package yet: its storage role is new",
		Cure: "assign Storage Blob Data Owner on the storage account to the app's identity, or open the account's network", Passes: rolePasses}},
	{Publishing, 0, "InaccessibleStorage", Cause{What: "the app's identity may not reach the package's storage yet",
		Cure: "assign Storage Blob Data Owner on the storage account to the app's identity, or open the account's network", Passes: rolePasses}},
	{Publishing, 403, "", Cause{What: "the SCM site refuses this address, or you lack the right to publish",
		Cure: "allow your address in the access restrictions of the SCM site; you need Website Contributor on the app", Passes: time.Minute}},
	{Publishing, 409, "", Cause{What: "another package is being published", Cure: "wait for it, or stop it", Passes: 2 * time.Minute}},
	{Publishing, 400, "", Cause{What: "the SCM site refuses the package", Cure: "build it again with make package"}},
	{Syncing, 400, "from host runtime", Cause{What: "the host does not run: the handler ends at its start",
		Cure: "read the app's log: a setting or a rule is wrong", Passes: 10 * time.Minute}},
	{Syncing, 404, "", Cause{What: "the host is not there yet", Cure: "restart the app", Passes: 10 * time.Minute}},
	{Uploading, 403, "AuthorizationPermissionMismatch", Cause{What: "you may not write to the storage account yet: the role is new",
		Cure: "assign Storage Blob Data Contributor on the storage account to yourself (operatorPrincipalId)", Passes: rolePasses}},
	{Uploading, 403, "", Cause{What: "the storage account refuses you or your network",
		Cure: "allow your address in the network rules of the storage account"}},
	{Querying, 400, "SEM0100|named 'PodwatchAlerts_CL'", Cause{What: "the table PodwatchAlerts_CL is not known to queries yet: no row has come",
		Cure: "wait; the first row of a new table takes up to 30 minutes", Passes: 45 * time.Minute}},
	{Querying, 400, "SEM0100|named 'AppTraces'", noTelemetry}, {Querying, 400, "SEM0100|named 'AppRequests'", noTelemetry},
	{Querying, 400, "", Cause{What: "the workspace refuses the query", Cure: "use the podwatch of the version that is deployed"}},
	{Querying, 403, "", Cause{What: "you may not query the workspace yet", Cure: "assign Log Analytics Reader on the workspace to yourself; it takes up to an hour", Passes: queryPasses}},
	{Querying, 404, "WorkspaceNotFound", Cause{What: "the workspace is not known to queries yet", Passes: 15 * time.Minute}},
	{Deploying, 0, "RoleAssignmentExists", Cause{What: "a role is assigned already under another name",
		Cure: "remove the assignment that was made by hand or by the portal, then deploy again"}},
	{Deploying, 0, "RoleAssignmentUpdateNotPermitted", Cause{What: "a role assignment of that name belongs to another identity", Cure: "remove the assignment, then deploy again"}},
	{Deploying, 0, "PrincipalNotFound", Cause{What: "the identity is not known to the directory yet", Cure: "deploy again in a minute"}},
	{Deploying, 0, "UnmatchedPrincipalType", Cause{What: "operatorPrincipalType is not what operatorPrincipalId is", Cure: "set operatorPrincipalType to User, Group or ServicePrincipal"}},
	{Deploying, 0, "SoftDeletedVaultDoesNotExist", Cause{What: "there is no deleted vault to recover", Cure: "leave recoverVault out; infra/deploy.sh sets it when it is needed"}},
	{Deploying, 0, "VaultAlreadyExists", Cause{What: "the vault's name is taken, or held by a deleted vault", Cure: "deploy with infra/deploy.sh, which recovers a deleted vault, or change name"}},
	{Deploying, 0, "InvalidDeploymentLocation", Cause{What: "a deployment of that name exists in another region", Cure: "use another deployment name; infra/deploy.sh has one for each region"}},
	{Deploying, 0, "not supported in region", Cause{What: "the region does not offer the plan", Cure: "choose another region, or plan = 'premium'"}},
	{Deploying, 0, "quota", Cause{What: "the subscription's quota is used up in this region", Cure: "ask for more quota, or choose another region"}},
	{Deploying, 0, "MissingSubscriptionRegistration", Cause{What: "a resource provider is not registered", Cure: "az provider register --namespace NAME --wait"}},
	{Deploying, 0, "RequestDisallowedByPolicy", Cause{What: "a policy forbids it", Cure: "get an exemption from the policy that the message names; usual ones concern local " +
		"authentication of Event Hubs namespaces, public network access of storage accounts, vaults and apps, allowed locations, and required tags"}},
	{Deploying, 0, "DeploymentActive", Cause{What: "another deployment is running", Cure: "wait for it, or cancel it"}},
	{Anywhere, 0, "ScopeLocked", Cause{What: "a lock forbids it", Cure: "remove the lock, then try again"}},
	{Anywhere, 401, "", Cause{What: "the token is refused: it is of another tenant, or has expired", Cure: "az login --tenant TENANT"}},
	{Anywhere, 403, "", Cause{What: "you are not allowed to do this", Cure: "ask for the role that has the action in the message"}},
	{Anywhere, 404, "SubscriptionNotFound", Cause{What: "the subscription is not found", Cure: "check its id; az account list shows yours"}},
	{Anywhere, 404, "", Cause{What: "it does not exist", Cure: "deploy again"}},
	{Anywhere, 429, "", Cause{What: "Azure asks to wait", Passes: frontEndPasses}},
	{Anywhere, 502, "", frontEnd}, {Anywhere, 503, "", frontEnd}, {Anywhere, 504, "", frontEnd}, {Anywhere, 500, "", frontEnd},
}

var noTelemetry = Cause{What: "the workspace has no telemetry of the app yet", Cure: "wait; it takes 2 to 5 minutes", Passes: 30 * time.Minute}

var frontEnd = Cause{What: "the service is not available", Cure: "try again later; see the Azure status page for the region", Passes: frontEndPasses}

// Explain returns the cause of an error. An error without an answer is one that does
// not pass: azcore has tried four times.
func Explain(where string, err error) Cause {
	var failure *Failure
	var e *Error
	switch {
	case errors.As(err, &failure):
		return failure.Cause
	case !errors.As(err, &e):
		return Cause{What: err.Error()}
	case e.Status == 0:
		return Cause{What: cmp.Or(e.Message, "no answer"), Cure: "check the network, and az login"}
	}
	return explain(where, e.Status, e.Code+" "+e.Text+" "+e.Message)
}

// ExplainText is Explain for what is no answer to a request: the status of a
// deployment, or of a Key Vault reference.
func ExplainText(where, text string) Cause { return explain(where, 0, text) }

func explain(where string, status int, text string) Cause {
	for _, r := range causes {
		if (r.where == Anywhere || r.where == where) && (r.status == 0 || r.status == status) && r.fits(text) {
			return r.Cause
		}
	}
	return Cause{What: strings.TrimSpace(cmp.Or(http.StatusText(status), "it failed")), Cure: "read the message"}
}

func (r row) fits(text string) bool {
	if r.status == 0 && r.texts == "" {
		return false
	}
	text = strings.ToLower(text)
	for part := range strings.SplitSeq(strings.ToLower(r.texts), "|") {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// Reference returns what the status of a Key Vault reference means; ok: it is
// resolved. A vault that is closed by its network answers as one whose role is
// missing.
func Reference(status string) (c Cause, ok bool) {
	c, known := references[status]
	if !known {
		c = Cause{What: "the reference is not resolved: " + status, Cure: "look at the app's environment variables in the portal"}
	}
	return c, known && c.What == ""
}

var references = map[string]Cause{
	"Resolved":      {},
	"Initialized":   {What: "the reference has not been looked up yet", Passes: 10 * time.Minute},
	"FetchTimedOut": {What: "the vault did not answer in time", Passes: 10 * time.Minute},
	"AccessToKeyVaultDenied": {What: "the vault refuses the app: the role on the secret is missing or new, or the vault's network is closed",
		Cure: "deploy again with the Teams address, which assigns Key Vault Secrets User; let the vault's public network access be enabled", Passes: 10 * time.Minute},
	"UnauthorizedClient":    {What: "the vault refuses the app's identity", Cure: "deploy again: keyVaultReferenceIdentity is the app's user-assigned identity", Passes: 10 * time.Minute},
	"InvalidSyntax":         {What: "the reference is misspelled", Cure: "deploy again"},
	"MSINotEnabled":         {What: "the app has no identity for references", Cure: "deploy again: keyVaultReferenceIdentity is the app's user-assigned identity"},
	"VaultNotFound":         {What: "the vault does not exist", Cure: "deploy again with TEAMS_WEBHOOK_URL set"},
	"SecretNotFound":        {What: "the vault has no secret of that name", Cure: "deploy again with TEAMS_WEBHOOK_URL set"},
	"SecretVersionNotFound": {What: "the secret has no such version", Cure: "deploy again with TEAMS_WEBHOOK_URL set"},
	"OtherReasons":          {What: "the reference is not resolved", Cure: "look at the app's environment variables in the portal", Passes: 10 * time.Minute},
}
