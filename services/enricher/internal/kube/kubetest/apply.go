// SPDX-License-Identifier: Apache-2.0

package kubetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// apply creates the objects of a file, each as kubectl would.
func apply(ctx context.Context, cfg *rest.Config, file string) error {
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	for documents := yaml.NewYAMLReader(bufio.NewReader(f)); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		object := new(unstructured.Unstructured)
		if err := yaml.Unmarshal(document, object); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
		var in dynamic.ResourceInterface = client.Resource(resource)
		if ns := object.GetNamespace(); ns != "" {
			in = client.Resource(resource).Namespace(ns)
		}
		if _, err := in.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("create %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
}
