// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"google.golang.org/protobuf/proto"

	kubev1 "github.com/busbar/busbar/contract/kube/v1"
	"github.com/busbar/busbar/services/enricher/internal/kube"
)

// Bounds of what is kept besides what the bus is to know, beyond what Kubernetes supports. What comes to a full table is left out and counted.
const (
	maxOwners = 500_000
	maxSlices = 50_000
)

// cluster is the cluster as the API has it: what the bus is to know, and no more. It is safe for concurrent use.
type cluster struct {
	dirty func(kube.Key) // told of what may have changed

	mu       sync.Mutex
	pods     map[types.UID]*podRecord
	owned    map[types.UID]map[types.UID]bool    // pods by who controls them
	owners   map[types.UID]metav1.OwnerReference // who controls a ReplicaSet or a Job
	services map[types.UID]*serviceRecord
	named    map[types.NamespacedName]types.UID              // services
	slices   map[types.UID]types.NamespacedName              // services of slices
	hands    map[types.NamespacedName]map[types.UID][][]byte // addresses that somebody wrote by hand, by service and slice
	nodes    map[types.UID]*kubev1.Node
	refused  uint64
}

type podRecord struct {
	message    *kubev1.Pod // with all its owners
	controller metav1.OwnerReference
	hash       string // of the template of its ReplicaSet
}

type serviceRecord struct {
	message *kubev1.Service // with all its addresses
	own     [][]byte        // addresses without endpoints
	name    types.NamespacedName
}

func newCluster(dirty func(kube.Key)) *cluster {
	return &cluster{
		dirty: dirty, pods: map[types.UID]*podRecord{}, owned: map[types.UID]map[types.UID]bool{},
		owners: map[types.UID]metav1.OwnerReference{}, services: map[types.UID]*serviceRecord{}, named: map[types.NamespacedName]types.UID{},
		slices: map[types.UID]types.NamespacedName{}, hands: map[types.NamespacedName]map[types.UID][][]byte{}, nodes: map[types.UID]*kubev1.Node{},
	}
}

// want is what the bus is to know of a thing; nil when the API has none.
func (c *cluster) want(key kube.Key) kube.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := types.UID(key.UID)
	switch key.Kind {
	case kube.KindPod:
		if r := c.pods[uid]; r != nil {
			return r.message
		}
	case kube.KindService:
		if r := c.services[uid]; r != nil {
			return r.message
		}
	case kube.KindNode:
		if n := c.nodes[uid]; n != nil {
			return n
		}
	}
	return nil
}

// keys lists all things.
func (c *cluster) keys() []kube.Key {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]kube.Key, 0, len(c.pods)+len(c.services)+len(c.nodes))
	for uid := range c.pods {
		all = append(all, kube.Key{Kind: kube.KindPod, UID: string(uid)})
	}
	for uid := range c.services {
		all = append(all, kube.Key{Kind: kube.KindService, UID: string(uid)})
	}
	for uid := range c.nodes {
		all = append(all, kube.Key{Kind: kube.KindNode, UID: string(uid)})
	}
	return all
}

// put takes in an object as it is now.
func (c *cluster) put(object metav1.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid := object.GetUID()
	switch o := object.(type) {
	case *corev1.Pod:
		if room(c, c.pods, uid, kube.MaxPods) {
			c.putPod(uid, o)
		}
	case *corev1.Service:
		if room(c, c.services, uid, kube.MaxServices) {
			c.services[uid] = &serviceRecord{own: serviceOf(o).GetAddresses(), message: serviceOf(o), name: name(o)}
			c.named[name(o)] = uid
			c.address(uid)
		}
	case *discoveryv1.EndpointSlice:
		if room(c, c.slices, uid, maxSlices) {
			c.dropSlice(uid)
			c.putSlice(uid, types.NamespacedName{Namespace: o.Namespace, Name: o.Labels[discoveryv1.LabelServiceName]}, endpointsOf(o))
		}
	case *corev1.Node:
		if room(c, c.nodes, uid, kube.MaxNodes) {
			c.nodes[uid] = nodeOf(o)
			c.dirty(kube.Key{Kind: kube.KindNode, UID: string(uid)})
		}
	case *metav1.PartialObjectMetadata: // a ReplicaSet or a Job; one that nobody controls says nothing
		if by := controller(o); by.UID != "" && room(c, c.owners, uid, maxOwners) {
			c.owners[uid] = by
			c.own(uid)
		}
	}
}

// room tells whether a table takes an object.
func room[T any](c *cluster, table map[types.UID]T, uid types.UID, limit int) bool {
	if _, known := table[uid]; known || len(table) < limit {
		return true
	}
	c.refused++
	return false
}

// drop forgets an object.
func (c *cluster) drop(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.pods[uid]; r != nil {
		c.disown(uid, r)
		delete(c.pods, uid)
		c.dirty(kube.Key{Kind: kube.KindPod, UID: string(uid)})
	}
	if r := c.services[uid]; r != nil {
		delete(c.services, uid)
		if c.named[r.name] == uid {
			delete(c.named, r.name)
		}
		c.dirty(kube.Key{Kind: kube.KindService, UID: string(uid)})
	}
	c.dropSlice(uid)
	if c.nodes[uid] != nil {
		delete(c.nodes, uid)
		c.dirty(kube.Key{Kind: kube.KindNode, UID: string(uid)})
	}
	delete(c.owners, uid) // its pods keep the names they have
}

func (c *cluster) putPod(uid types.UID, p *corev1.Pod) {
	if before := c.pods[uid]; before != nil {
		c.disown(uid, before)
	}
	r := &podRecord{message: podOf(p), controller: controller(p), hash: p.Labels["pod-template-hash"]}
	c.pods[uid] = r
	if by := r.controller.UID; by != "" {
		if c.owned[by] == nil {
			c.owned[by] = map[types.UID]bool{}
		}
		c.owned[by][uid] = true
	}
	r.message.Owners = c.chain(r)
	c.dirty(kube.Key{Kind: kube.KindPod, UID: string(uid)})
}

func (c *cluster) disown(uid types.UID, r *podRecord) {
	pods := c.owned[r.controller.UID]
	delete(pods, uid)
	if len(pods) == 0 {
		delete(c.owned, r.controller.UID)
	}
}

// own tells the pods of an owner who controls it.
func (c *cluster) own(owner types.UID) {
	for uid := range c.owned[owner] {
		r := c.pods[uid]
		next := proto.CloneOf(r.message)
		if next.Owners = c.chain(r); !proto.Equal(next, r.message) {
			r.message = next
			c.dirty(kube.Key{Kind: kube.KindPod, UID: string(uid)})
		}
	}
}

// chain lists who controls a pod, from its controller upwards. The pod may be known before its ReplicaSet is, or without it: the name of
// the ReplicaSet of a Deployment ends in a hash that its pods are labelled with.
func (c *cluster) chain(r *podRecord) (owners []*kubev1.Owner) {
	const highest = 4 // and no circle
	for by := r.controller; by.UID != "" && len(owners) < highest; by = c.owners[by.UID] {
		owners = append(owners, &kubev1.Owner{Kind: by.Kind, Name: by.Name})
	}
	if len(owners) == 1 && owners[0].GetKind() == "ReplicaSet" && r.hash != "" {
		if name, ok := strings.CutSuffix(owners[0].GetName(), "-"+r.hash); ok {
			owners = append(owners, &kubev1.Owner{Kind: "Deployment", Name: name})
		}
	}
	return owners
}

func (c *cluster) putSlice(uid types.UID, service types.NamespacedName, addresses [][]byte) {
	c.slices[uid] = service
	if c.hands[service] == nil {
		c.hands[service] = map[types.UID][][]byte{}
	}
	c.hands[service][uid] = addresses
	c.address(c.named[service])
}

func (c *cluster) dropSlice(uid types.UID) {
	service, ok := c.slices[uid]
	if !ok {
		return
	}
	delete(c.slices, uid)
	delete(c.hands[service], uid)
	if len(c.hands[service]) == 0 {
		delete(c.hands, service)
	}
	c.address(c.named[service])
}

// address gives a service the addresses of its slices, besides its own.
func (c *cluster) address(uid types.UID) {
	r := c.services[uid]
	if r == nil {
		return
	}
	next := proto.CloneOf(r.message)
	next.Addresses = slices.Concat(slices.Collect(maps.Values(c.hands[r.name]))...)
	slices.SortFunc(next.GetAddresses(), bytes.Compare) // or the order of a map would be news
	next.Addresses = slices.Concat(r.own, next.GetAddresses())
	next.Addresses = next.GetAddresses()[:min(len(next.GetAddresses()), maxParts)]
	r.message = next
	c.dirty(kube.Key{Kind: kube.KindService, UID: string(uid)})
}

func name(o metav1.Object) types.NamespacedName {
	return types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetName()}
}
