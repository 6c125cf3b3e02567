// Package manifests tests the Kubernetes manifests of all stages without a
// cluster: each decodes strictly, and what they say of each other is true.
package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// root is the checkout's top.
const root = "../../.."

// newObject gives an empty object of the type, or nil when there must be none
// of that kind here.
func newObject(apiVersion, kind string) metav1.Object {
	switch apiVersion + " " + kind {
	case "v1 Service":
		return new(corev1.Service)
	case "v1 ConfigMap":
		return new(corev1.ConfigMap)
	case "v1 PersistentVolumeClaim":
		return new(corev1.PersistentVolumeClaim)
	case "v1 ServiceAccount":
		return new(corev1.ServiceAccount)
	case "apps/v1 Deployment":
		return new(appsv1.Deployment)
	case "apps/v1 StatefulSet":
		return new(appsv1.StatefulSet)
	case "batch/v1 Job":
		return new(batchv1.Job)
	case "networking.k8s.io/v1 Ingress":
		return new(networkingv1.Ingress)
	case "networking.k8s.io/v1 NetworkPolicy":
		return new(networkingv1.NetworkPolicy)
	case "policy/v1 PodDisruptionBudget":
		return new(policyv1.PodDisruptionBudget)
	case "autoscaling/v2 HorizontalPodAutoscaler":
		return new(autoscalingv2.HorizontalPodAutoscaler)
	case "gateway.networking.k8s.io/v1 Gateway":
		return new(gatewayv1.Gateway)
	case "gateway.networking.k8s.io/v1 HTTPRoute":
		return new(gatewayv1.HTTPRoute)
	}
	return nil
}

// decode reads a stream of YAML documents. A field that the API does not have,
// or one that is there twice, is an error.
func decode(stream []byte) ([]metav1.Object, error) {
	var objects []metav1.Object
	var errs []error
	for _, document := range bytes.Split(append([]byte("\n"), stream...), []byte("\n---\n")) {
		asJSON, err := yaml.YAMLToJSONStrict(document)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if string(asJSON) == "null" {
			continue
		}
		var head metav1.TypeMeta
		if err := yaml.Unmarshal(document, &head); err != nil {
			errs = append(errs, err)
			continue
		}
		o := newObject(head.APIVersion, head.Kind)
		if o == nil {
			errs = append(errs, fmt.Errorf("%s %s: no such kind belongs here", head.APIVersion, head.Kind))
			continue
		}
		strict, err := kjson.UnmarshalStrict(asJSON, o)
		for _, err := range append(strict, err) {
			if err != nil {
				errs = append(errs, fmt.Errorf("%s %s: %w", head.Kind, o.GetName(), err))
			}
		}
		objects = append(objects, o)
	}
	return objects, errors.Join(errs...)
}

// build is what `kubectl kustomize dir` prints.
func build(dir string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionUnspecified // the kustomization says it
	built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	return built.AsYaml()
}

// stage is a chapter with manifests.
type stage struct {
	name, dir string
}

func stages(t *testing.T) []stage {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "*", "k8s"))
	if err != nil {
		t.Fatal(err)
	}
	var all []stage
	for _, dir := range found {
		all = append(all, stage{filepath.Base(filepath.Dir(dir)), filepath.Dir(dir)})
	}
	if len(all) < 6 {
		t.Fatalf("got stages %v, want 03-k8s to 07-grpc and final", all)
	}
	return all
}

// files gives the stage's manifests, those of every variant, by path.
func (s stage) files(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, dir := range []string{"k8s", "k8s-sqlite"} {
		err := filepath.WalkDir(filepath.Join(s.dir, dir), func(path string, entry os.DirEntry, err error) error {
			if os.IsNotExist(err) {
				return nil
			}
			if err != nil || entry.IsDir() || isKustomization(path) || !strings.HasPrefix(filepath.Ext(path), ".y") {
				return err
			}
			files[path], err = os.ReadFile(path)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func isKustomization(path string) bool {
	name := strings.ToLower(filepath.Base(path))
	return strings.TrimSuffix(strings.TrimSuffix(name, ".yaml"), ".yml") == "kustomization"
}

// variants gives the folders of the stage that are applied, each as a whole.
func (s stage) variants(t *testing.T) []string {
	t.Helper()
	var dirs []string
	for _, pattern := range []string{"k8s/Kustomization", "k8s-sqlite/kustomization.yaml", "k8s/overlays/*/kustomization.yaml"} {
		found, err := filepath.Glob(filepath.Join(s.dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			dirs = append(dirs, filepath.Dir(file))
		}
	}
	if len(dirs) == 0 {
		t.Fatalf("%s: nothing to apply", s.name)
	}
	return dirs
}
