// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiwatch "k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// Locate returns how the API is reached: as kubeconfig says, a path; or else as a pod is told; or else, if usual is true, as the kubeconfig
// says that kubectl would use. Without any the error is ErrOutside.
func Locate(kubeconfig string, usual bool) (*rest.Config, error) {
	if kubeconfig != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
		}
		return cfg, nil
	}
	cfg, err := rest.InClusterConfig()
	outside := errors.Is(err, rest.ErrNotInCluster) || errors.Is(err, os.ErrNotExist) // a pod may be without a token
	if outside && usual {
		cfg, err = clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil).ClientConfig()
		outside = clientcmd.IsEmptyConfig(err)
	}
	if outside {
		return nil, ErrOutside
	}
	return cfg, err
}

// ErrOutside means that this process is in no pod that may ask an API.
var ErrOutside = errors.New("not in a pod with a service account, and no kubeconfig given")

// source is a kind of object of the API.
type source struct {
	resource string
	object   runtime.Object // an empty one
	lister   *cache.ListWatch
	// spare tells that names are right without it, if less complete.
	spare bool
}

// handWritten selects the slices that no controller of Kubernetes makes of pods: those say nothing that the pods do not.
const handWritten = discoveryv1.LabelManagedBy + "!=endpointslice-controller.k8s.io"

// sources lists what is watched: all of pods, services, nodes and hand-written endpoints, and the metadata of what stands between a pod and
// its workload.
func sources(cfg *rest.Config) ([]source, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.AcceptContentTypes, cfg.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	core, err := client(cfg, "/api", corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return nil, err
	}
	discovery, err := client(cfg, "/apis", discoveryv1.SchemeGroupVersion, discoveryv1.AddToScheme)
	if err != nil {
		return nil, err
	}
	meta, err := metadata.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	all := func(*metav1.ListOptions) {}
	byHand := func(o *metav1.ListOptions) { o.LabelSelector = handWritten }
	return []source{
		{"pods", new(corev1.Pod), cache.NewFilteredListWatchFromClient(core, "pods", "", all), false},
		{"services", new(corev1.Service), cache.NewFilteredListWatchFromClient(core, "services", "", all), false},
		{"nodes", new(corev1.Node), cache.NewFilteredListWatchFromClient(core, "nodes", "", all), false},
		{"endpointslices", new(discoveryv1.EndpointSlice), cache.NewFilteredListWatchFromClient(discovery, "endpointslices", "", byHand), true},
		{"replicasets", new(metav1.PartialObjectMetadata), owners(meta, "apps", "replicasets"), true},
		{"jobs", new(metav1.PartialObjectMetadata), owners(meta, "batch", "jobs"), true},
	}, nil
}

// client returns a client of one group of the API, which knows its types alone.
func client(cfg *rest.Config, path string, group schema.GroupVersion, types func(*runtime.Scheme) error) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := types(scheme); err != nil {
		return nil, err
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	cfg = rest.CopyConfig(cfg)
	cfg.GroupVersion, cfg.APIPath = &group, path
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	return rest.RESTClientFor(cfg)
}

// owners lists the metadata of a resource.
func owners(client metadata.Interface, group, resource string) *cache.ListWatch {
	of := client.Resource(schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource})
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return of.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			return of.Watch(ctx, o)
		},
	}
}

// counted tells note of every request that a source makes, and of its error.
func (s source) counted(note func(resource, verb string, err error)) *cache.ListWatch {
	tell := func(ctx context.Context, verb string, err error) {
		if ctx.Err() == nil {
			note(s.resource, verb, err)
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := s.lister.ListWithContext(ctx, o)
			tell(ctx, "list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (apiwatch.Interface, error) {
			w, err := s.lister.WatchWithContext(ctx, o)
			tell(ctx, "watch", err)
			return w, err
		},
	}
}
