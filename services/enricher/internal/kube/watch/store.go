// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

// store hands the objects of one source to the cluster, which keeps the little that is wanted of each. It is what a reflector fills.
type store struct {
	cluster *cluster

	mu     sync.Mutex
	known  map[types.UID]bool
	synced chan struct{} // closed when all has been listed once
}

var _ cache.TransformingStore = (*store)(nil)

func newStore(c *cluster) *store {
	return &store{cluster: c, known: map[types.UID]bool{}, synced: make(chan struct{})}
}

// Add implements cache.ReflectorStore.
func (s *store) Add(object any) error {
	o, ok := object.(metav1.Object)
	if !ok {
		return fmt.Errorf("object of type %T has no metadata", object)
	}
	s.mu.Lock()
	s.known[o.GetUID()] = true
	s.mu.Unlock()
	s.cluster.put(o)
	return nil
}

// Update implements cache.ReflectorStore.
func (s *store) Update(object any) error { return s.Add(object) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(object any) error {
	o, ok := object.(metav1.Object)
	if !ok {
		return fmt.Errorf("object of type %T has no metadata", object)
	}
	s.mu.Lock()
	delete(s.known, o.GetUID())
	s.mu.Unlock()
	s.cluster.drop(o.GetUID())
	return nil
}

// Replace implements cache.ReflectorStore: objects are all that there are.
func (s *store) Replace(objects []any, _ string) error {
	listed := map[types.UID]bool{}
	for _, object := range objects {
		if o, ok := object.(metav1.Object); ok {
			listed[o.GetUID()] = true
			s.cluster.put(o)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid := range s.known {
		if !listed[uid] {
			s.cluster.drop(uid)
		}
	}
	s.known = listed
	select {
	case <-s.synced:
	default:
		close(s.synced)
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store) Resync() error { return nil }

// Transformer implements cache.TransformingStore: while a list comes in, its objects wait without what nobody will look at.
func (s *store) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		if o, ok := object.(metav1.Object); ok {
			o.SetManagedFields(nil)
		}
		if p, ok := object.(*corev1.Pod); ok {
			p.Spec.Volumes, p.Spec.Affinity, p.Spec.Tolerations = nil, nil, nil
			for i := range p.Spec.Containers {
				p.Spec.Containers[i] = corev1.Container{Name: p.Spec.Containers[i].Name, Image: p.Spec.Containers[i].Image}
			}
		}
		return object, nil
	}
}
