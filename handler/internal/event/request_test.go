package event

import "testing"

func TestObjectOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		uri  string
		want ObjectRef // empty: none
	}{
		"a pod":                           {"/api/v1/namespaces/shop/pods/cart-0?gracePeriodSeconds=0", ObjectRef{Resource: "pods", Namespace: "shop", Name: "cart-0"}},
		"pods of a namespace":             {"/api/v1/namespaces/shop/pods?labelSelector=app%3Dcart", ObjectRef{Resource: "pods", Namespace: "shop"}},
		"pods of all namespaces":          {"/api/v1/pods", ObjectRef{Resource: "pods"}},
		"an eviction":                     {"/api/v1/namespaces/shop/pods/cart-0/eviction", ObjectRef{Resource: "pods", Subresource: "eviction", Namespace: "shop", Name: "cart-0"}},
		"a namespace":                     {"/api/v1/namespaces/shop", ObjectRef{Resource: "namespaces", Namespace: "shop", Name: "shop"}},
		"a namespace's subresource":       {"/api/v1/namespaces/shop/finalize", ObjectRef{Resource: "namespaces", Subresource: "finalize", Namespace: "shop", Name: "shop"}},
		"a workload of a group":           {"/apis/apps/v1/namespaces/shop/deployments/cart", ObjectRef{Resource: "deployments", Namespace: "shop", Name: "cart", APIGroup: "apps"}},
		"pods of an aggregated API":       {"/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods/cart-0", ObjectRef{Resource: "pods", Namespace: "shop", Name: "cart-0", APIGroup: "metrics.k8s.io"}},
		"what a proxied service receives": {"/api/v1/namespaces/shop/services/api:443/proxy/api/v1/namespaces/x/pods/y", ObjectRef{Resource: "services", Subresource: "proxy", Namespace: "shop", Name: "api:443"}},
		"what a proxied pod receives":     {"/api/v1/namespaces/shop/pods/cart-0/proxy/pods/y", ObjectRef{Resource: "pods", Subresource: "proxy", Namespace: "shop", Name: "cart-0"}},
		"the old path of a proxied pod":   {"/api/v1/proxy/namespaces/shop/pods/cart-0/eviction", ObjectRef{Resource: "pods", Namespace: "shop", Name: "cart-0"}},
		"the old path of a watch":         {"/api/v1/watch/namespaces/shop/pods", ObjectRef{Resource: "pods", Namespace: "shop"}},
		"escapes in the path":             {"/api/v1/namespaces/shop/p%6Fds/cart-0", ObjectRef{Resource: "pods", Namespace: "shop", Name: "cart-0"}},
		"a slash at the end":              {"/api/v1/namespaces/shop/pods/cart-0/", ObjectRef{Resource: "pods", Namespace: "shop", Name: "cart-0"}},
		"no resource":                     {"/healthz", ObjectRef{}},
		"an API without a resource":       {"/apis/apps/v1", ObjectRef{}},
		"nothing behind a watch":          {"/api/v1/watch", ObjectRef{}},
		"no path":                         {"pods", ObjectRef{}},
		"an escape that is none":          {"/api/v1/namespaces/%zz/pods/x", ObjectRef{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, ok := objectOf(tt.uri); got != tt.want || ok != (tt.want != ObjectRef{}) {
				t.Errorf("objectOf(%q) = %+v, %t, want %+v", tt.uri, got, ok, tt.want)
			}
		})
	}
}
