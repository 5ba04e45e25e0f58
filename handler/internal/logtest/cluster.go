package logtest

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Cluster is the audit log of a cluster without its reads. Of 20 records, 10 are
// lease updates, 5 are events, 3 are patches of a pod's status with the pod in the
// response, and 2 are token reviews for a service account.
const Cluster = "cluster"

// shares are the kinds of 20 records of a Cluster, by their first letters.
const shares = "lelpletlelplletlplel"

// clusterRecord is the i-th record of a Cluster that is no deletion.
func clusterRecord(i int) string {
	node := fmt.Sprintf("aks-nodepool1-31718369-vmss%06d", i%50)
	r := request{ // of the node's kubelet
		user: "system:node:" + node, groups: `"system:nodes","system:authenticated"`,
		agent: "kubelet/v1.31.2 (linux/amd64) kubernetes/5864a46", address: fmt.Sprintf("10.224.0.%d", 4+i%50), code: 200,
	}
	pod := fmt.Sprintf("cart-7c9d5b6f48-%05d", i)
	switch shares[i%len(shares)] {
	case 'l':
		r.verb, r.resource, r.group, r.namespace, r.name = "update", "leases", "coordination.k8s.io", "kube-node-lease", node
		lease := fmt.Sprintf(`{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":%q,"namespace":"kube-node-lease","uid":"0c9d7a52-5f0e-4c55-9d0e-%012d","resourceVersion":"%d","ownerReferences":[{"apiVersion":"v1","kind":"Node","name":%[1]q,"uid":"3f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f"}]},"spec":{"holderIdentity":%[1]q,"leaseDurationSeconds":40,"renewTime":"2026-11-09T08:14:22.531048Z"}}`, node, i%50, 4_000_000+i)
		r.sent, r.got = lease, lease
	case 'e':
		r.verb, r.resource, r.namespace, r.name, r.code = "create", "events", "shop", pod+".17a6e0", 201
		r.sent = fmt.Sprintf(`{"kind":"Event","apiVersion":"v1","metadata":{"name":"%s.17a6e0","namespace":"shop"},"involvedObject":{"kind":"Pod","namespace":"shop","name":%[1]q,"apiVersion":"v1","fieldPath":"spec.containers{cart}"},"reason":"Pulled","message":"Container image \"registry.example.com/shop/cart:4.11.%d\" already present on machine","source":{"component":"kubelet","host":%q},"type":"Normal","count":1}`, pod, i%40, node)
	case 'p':
		r.verb, r.resource, r.sub, r.namespace, r.name = "patch", "pods", "status", "shop", pod
		status := fmt.Sprintf(`"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True","lastTransitionTime":"2026-11-09T08:14:22Z"},{"type":"ContainersReady","status":"True","lastTransitionTime":"2026-11-09T08:14:22Z"}],"podIP":"10.244.3.%d","containerStatuses":[{"name":"cart","ready":true,"restartCount":0,"image":"registry.example.com/shop/cart:4.11.%d","started":true}]}`, i%250, i%40)
		r.sent, r.got = "{"+status+"}", podObject(pod, node, status)
	default:
		r.verb, r.resource, r.group, r.code = "create", "tokenreviews", "authentication.k8s.io", 201
		r.user, r.groups = "system:serviceaccount:monitoring:metrics", `"system:serviceaccounts","system:serviceaccounts:monitoring","system:authenticated"`
	}
	return r.record(i)
}

// cutRecord is the i-th record of a log, an update of a large object whose text
// Azure cut at 16 KiB.
func cutRecord(i int) string {
	large := fmt.Sprintf(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"settings-%d","namespace":"shop"},"data":{"file":"%s"}}`, i, strings.Repeat("key = value, ", 1000))
	return request{
		verb: "update", resource: "configmaps", namespace: "shop", name: fmt.Sprintf("settings-%d", i), code: 200, cut: 16 << 10,
		user: "system:serviceaccount:shop:operator", groups: `"system:serviceaccounts","system:serviceaccounts:shop","system:authenticated"`,
		agent: "operator/v1.4.2 (linux/amd64) kubernetes/5864a46", address: "10.244.3.9", sent: large, got: large,
	}.record(i)
}

// controllers are those that delete pods, each as often as it does so among ten.
const controllers = "replicaset-controller replicaset-controller replicaset-controller job-controller job-controller generic-garbage-collector generic-garbage-collector generic-garbage-collector statefulset-controller daemon-set-controller"

// routineRecord is the i-th record of a log, a deletion by a controller with the pod
// in the response.
func routineRecord(i int) string {
	names := strings.Fields(controllers)
	user := "system:serviceaccount:kube-system:" + names[i%len(names)]
	pod := fmt.Sprintf("cart-7c9d5b6f48-%05d", i)
	return request{
		verb: "delete", resource: "pods", namespace: "shop", name: pod, code: 200,
		user: user, groups: `"system:serviceaccounts","system:serviceaccounts:kube-system","system:authenticated"`,
		agent: "kube-controller-manager/v1.31.2 (linux/amd64) kubernetes/5864a46/" + user, address: "172.31.16.220",
		sent: `{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":"0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f"}}`,
		got:  podObject(pod, "aks-nodepool1-31718369-vmss000004", `"status":{"phase":"Running","podIP":"10.244.3.9"}`),
	}.record(i)
}

// podObject is a pod as the API server returns it, of about 2 KB.
func podObject(name, node, status string) string {
	var labels, env strings.Builder
	for i := range 6 {
		fmt.Fprintf(&labels, `,"app.example.com/part-%d":"value-%d"`, i, i)
		fmt.Fprintf(&env, `{"name":"CART_OPTION_%d","value":"https://service-%d.shop.svc.cluster.local:8443/v2"},`, i, i)
	}
	return fmt.Sprintf(`{"kind":"Pod","apiVersion":"v1","metadata":{"name":%q,"generateName":"cart-7c9d5b6f48-","namespace":"shop","uid":"0f1e2d3c-4b5a-4697-8879-6a5b4c3d2e1f","labels":{"app":"cart"%s},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"cart-7c9d5b6f48","uid":"7d1f2a3b-4c5d-4e6f-8a9b-0c1d2e3f4a5b","controller":true}]},"spec":{"nodeName":%q,"serviceAccountName":"cart","containers":[{"name":"cart","image":"registry.example.com/shop/cart:4.11.7","env":[%s{"name":"PORT","value":"8080"}],"resources":{"limits":{"cpu":"500m","memory":"512Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},"livenessProbe":{"httpGet":{"path":"/live","port":8080},"periodSeconds":10}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30},%s}`,
		name, labels.String(), node, env.String(), status)
}

// A request is what the API server audits.
type request struct {
	verb, resource, group, sub, namespace, name string
	user, groups, agent, address                string
	code                                        int
	sent, got                                   string // bodies; empty: not audited
	cut                                         int    // bytes of the text that are exported; 0: all
}

// record is the record of the request, the i-th of a log.
func (r request) record(i int) string {
	uri := "/api/v1"
	if r.group != "" {
		uri = "/apis/" + r.group + "/v1"
	}
	if r.namespace != "" {
		uri += "/namespaces/" + r.namespace
	}
	for _, part := range []string{r.resource, r.name, r.sub} {
		if part != "" {
			uri += "/" + part
		}
	}
	object := ""
	for _, member := range [][2]string{{"namespace", r.namespace}, {"name", r.name}, {"apiGroup", r.group}, {"subresource", r.sub}} {
		if member[1] != "" {
			object += fmt.Sprintf(`,%q:%q`, member[0], member[1])
		}
	}
	bodies, level := "", "Metadata"
	if r.sent != "" {
		bodies, level = `,"requestObject":`+r.sent, "Request"
	}
	if r.got != "" {
		bodies, level = bodies+`,"responseObject":`+r.got, "RequestResponse"
	}
	log := fmt.Sprintf(`{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"%s","auditID":"5d2a9c34-7e18-4b60-8f4d-%012d","stage":"ResponseComplete","requestURI":"%s","verb":"%s","user":{"username":"%s","uid":"a4e1b2c3-0d1e-4f2a-8b3c-4d5e6f7a8b9c","groups":[%s]},"sourceIPs":["%s"],"userAgent":"%s","objectRef":{"resource":"%s"%s,"apiVersion":"v1"},"responseStatus":{"metadata":{},"code":%d}%s,"requestReceivedTimestamp":"2026-11-09T08:14:22.531048Z","stageTimestamp":"2026-11-09T08:14:22.541048Z","annotations":{"authorization.k8s.io/decision":"allow","authorization.k8s.io/reason":""}}`+"\n",
		level, i, uri, r.verb, r.user, r.groups, r.address, r.agent, r.resource, object, r.code, bodies)
	if r.cut > 0 {
		log = log[:min(len(log), r.cut)]
	}
	text, err := json.Marshal(log)
	if err != nil {
		panic(err) // a text
	}
	return fmt.Sprintf(`{"category":"kube-audit-admin","ccpNamespace":"64f0c1b52d6d0a0001","operationName":"Microsoft.ContainerService/managedClusters/diagnosticLogs/Read","properties":{"log":%s,"stream":"stdout","pod":"kube-apiserver-6f9c7d8b54-k2x9p"},"resourceId":"/SUBSCRIPTIONS/9B1F4E62-7C35-4D8A-8F20-6AD1C2E9B703/RESOURCEGROUPS/RG-PROD/PROVIDERS/MICROSOFT.CONTAINERSERVICE/MANAGEDCLUSTERS/AKS-PROD","serviceBuild":"na","time":"2026-11-09T08:14:22.5410480Z"}`, text)
}
