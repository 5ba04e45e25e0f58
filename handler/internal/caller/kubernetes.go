package caller

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"podwatch/handler/internal/arm"
	"podwatch/handler/internal/event"
)

// platformAccounts are names that AKS's own control plane signs in with.
var platformAccounts = map[string]string{
	"aksService":       "shared by the components of AKS's control plane",
	"hcpService":       "AKS's hosted control plane",
	"readinessChecker": "AKS's readiness probe",
}

// externalPrefix begins the names that AKS gives to the identities of its JWT
// authenticators.
const externalPrefix = "aks:jwt:"

// NoteIDOnly is true until the directory has returned what the id is.
const NoteIDOnly = "the record names this Entra account by its object id only: a person, an application or a managed identity"

// fromAudit reads the caller of a Kubernetes audit event. The real actor is user,
// except behind an access proxy, whose word for the person is taken.
func fromAudit(a *event.KubeAudit) Caller {
	actor, through := a.User, proxyOf(a.User.Name)
	acted := a.Impersonated != nil && a.Impersonated.Name != "" && a.Impersonated.Name != a.User.Name
	relayed := through.name != "" && acted
	if relayed {
		actor = *a.Impersonated
	}
	c := fromAuditUser(actor, a.UserAgent, through.name != "")
	c.UserAgent = a.UserAgent

	switch {
	case relayed:
		c.Note("the person is named by %s (%s), and the address is the proxy's, not the person's", through.name, a.User.Name)
	case through.name != "" && through.person != "":
		c.Note("an account of %s; the person is known by the id in its name only: %s", through.name, through.person)
	case through.name != "":
		c.Note("an account of %s: the person behind it is not in this log", through.name)
	case acted:
		c.ActedAs = a.Impersonated.Name
		c.Note("the caller acted as %s (impersonation); the rights used are that account's", a.Impersonated.Name)
	}

	readSource(&c, a.SourceIPs)
	if c.Namespace != "" && event.Public(c.IP) {
		c.Note("a workload's account, from the public address %s", c.IP)
	}
	return c
}

// readSource takes the last address: the connection's own. The ones before it
// are headers that any client can send.
func readSource(c *Caller, addresses []string) {
	if len(addresses) == 0 {
		return
	}
	c.IP = address(addresses[len(addresses)-1])
	if n := len(addresses) - 1; n > 0 {
		c.Note(fmt.Sprintf("%d earlier source address(es) were claimed by the client and are not used", n))
	}
}

// fromAuditUser reads an account. proxied: the request came through an access proxy.
// The account is the proxy's word then, behind which there is no certificate, or
// the proxy's own, whose user agent is the person's.
func fromAuditUser(u event.AuditUser, userAgent string, proxied bool) Caller {
	c := Caller{Kind: KindKubernetes, Name: u.Name}
	oid, hasOID := arm.ParseGUID(first(u.Extra["oid"]))
	guid, isGUID := arm.ParseGUID(u.Name)
	masters := slices.Contains(u.Groups, "system:masters")

	switch {
	case u.Name == "":
		c.Kind = KindUnknown
		c.Note("the record names no caller")
	case strings.HasPrefix(u.Name, "system:serviceaccount:"):
		readServiceAccount(&c, u)
		if !proxied && product(userAgent) == "kubectl" {
			noteKubectl(&c)
		}
	case strings.HasPrefix(u.Name, "system:node:"):
		readNode(&c, u, userAgent)
	case strings.HasPrefix(u.Name, externalPrefix):
		c.Kind = KindExternalIdentity
		c.Note("%s by the cluster's JWT authenticator: a token of another issuer, neither an Entra account nor a client certificate", strings.TrimPrefix(u.Name, externalPrefix))
	case u.Name == "masterclient":
		c.Note("local admin certificate: no person behind it; whoever pulled the cluster's admin credential may hold it")
	case platformAccounts[u.Name] != "":
		readPlatform(&c, u.Name, userAgent)
	case u.Name == "system:anonymous":
		c.Note("the request carried no identity")
	case strings.HasPrefix(u.Name, "system:"):
		// A component of the cluster; which one is in the name.
	case isGUID:
		// A guest, an application or, behind the Arc proxy, anybody: all show
		// as their object id.
		c.Kind, c.Name, c.ID = KindUnknown, "", guid
		c.Note(NoteIDOnly)
	case strings.Contains(u.Name, "@"):
		c.Kind = KindUser
		if guest := guestHome(u.Name); guest != "" {
			c.Note(guestNote, guest)
		}
		if !hasOID && !hasGroupID(u.Groups) && !proxied {
			c.Note("the cluster logged no Entra object id: the name may come from a client certificate")
		}
	case hasOID:
		c.Kind = KindUnknown
	case proxied:
		c.Kind = KindExternalIdentity // an account of the proxy's own
	default:
		c.Note("local account, most likely a client certificate: no Entra account behind the name")
	}
	if hasOID && c.Kind != KindKubernetes && c.Kind != KindExternalIdentity {
		c.ID = oid
	}
	if masters && platformAccounts[u.Name] == "" {
		c.Note("member of system:masters: no role limits this account")
	}
	return c
}

func readServiceAccount(c *Caller, u event.AuditUser) {
	namespace, _, _ := strings.Cut(strings.TrimPrefix(u.Name, "system:serviceaccount:"), ":")
	c.Namespace, c.ID = namespace, u.UID
	if pod := first(u.Extra["authentication.kubernetes.io/pod-name"]); pod != "" {
		where := "the token belongs to pod " + short(pod)
		if node := first(u.Extra["authentication.kubernetes.io/node-name"]); node != "" {
			where += " on node " + short(node)
		}
		c.Note(where)
	}
}

// noteKubectl cautions about a service account that is used with kubectl.
func noteKubectl(c *Caller) {
	if c.Namespace == "kube-system" {
		c.Note("a system account used with kubectl is unusual")
	} else {
		c.Note("a service account's token used with kubectl, as a person or a script would that holds it")
	}
}

// readNode cautions about the account of a node: it stands for every pod there that
// can read the node's credentials.
func readNode(c *Caller, u event.AuditUser, userAgent string) {
	if !slices.Contains(u.Groups, "system:nodes") {
		c.Note("the name is a node's, but the account is not in the group of nodes")
	}
	if p := product(userAgent); p != "" && p != "kubelet" {
		c.Note("a node's account used with %s, not by its kubelet: it stands for every pod on the node", p)
	}
}

// readPlatform distinguishes the components behind one shared account by user
// agent, which is all there is and which a client can set.
func readPlatform(c *Caller, name, userAgent string) {
	caution := "platform account: " + platformAccounts[name]
	if p := product(userAgent); p != "" {
		c.AppName = p
		caution += "; the component is known by its user agent only, which a client can forge"
	}
	c.Note(caution)
}

// product is the first token of a user agent: "kubectl/v1.31.2 (linux/amd64)"
// gives "kubectl", as does "kubectl.exe/v1.31.2 (windows/amd64)".
func product(userAgent string) string {
	name, _, _ := strings.Cut(cmp.Or(event.Product(userAgent), userAgent), " ")
	return short(name)
}

func hasGroupID(groups []string) bool {
	return slices.ContainsFunc(groups, func(g string) bool { _, ok := arm.ParseGUID(g); return ok })
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
