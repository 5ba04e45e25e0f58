package caller

import "strings"

// A proxy relays requests of people to a cluster: it signs in with an account of
// its own and names the person in impersonatedUser.
type proxy struct {
	name   string // of the product; "" for no proxy
	person string // the id of the person, where the account's name has it
}

// proxies are the accounts of access proxies. Names are complete, because whoever
// may create a service account chooses its name.
var proxies = map[string]string{
	"system:serviceaccount:azure-arc:azure-arc-kube-aad-proxy-sa": "the Arc proxy",
	"system:serviceaccount:teleport:teleport-kube-agent":          "Teleport",
	"system:serviceaccount:teleport:teleport-agent":               "Teleport",
	"system:serviceaccount:teleport-agent:teleport-agent":         "Teleport",
	"system:serviceaccount:teleport-agent:teleport-kube-agent":    "Teleport",
	"system:serviceaccount:cattle-system:cattle":                  "Rancher",
}

// proxyOf returns the proxy that an account belongs to.
func proxyOf(account string) proxy {
	if name := proxies[account]; name != "" {
		return proxy{name: name}
	}
	// Rancher makes an account for each of its users.
	if id, ok := strings.CutPrefix(account, "system:serviceaccount:cattle-impersonation-system:cattle-impersonation-"); ok {
		return proxy{name: "Rancher", person: id}
	}
	// The syncer of a virtual cluster, in whatever namespace that is, does on the host
	// what people do inside.
	if rest, ok := strings.CutPrefix(account, "system:serviceaccount:"); ok {
		_, name, _ := strings.Cut(rest, ":")
		if cluster, ok := strings.CutPrefix(name, "vc-"); ok && cluster != "" {
			return proxy{name: "the virtual cluster " + cluster}
		}
	}
	return proxy{}
}
