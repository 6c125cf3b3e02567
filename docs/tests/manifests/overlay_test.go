package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// documentedOverlay builds the kustomization of docs/kubernetes.md, with this checkout
// for the remote base, and returns the objects.
func documentedOverlay(t *testing.T) []metav1.Object {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "kubernetes.md"))
	require.NoError(t, err)
	found := regexp.MustCompile("(?s)\n# kustomization.yaml\n(.*?)```").FindSubmatch(text)
	require.NotNil(t, found, "docs/kubernetes.md has no kustomization.yaml")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	checkout, err = filepath.Rel(dir, checkout)
	require.NoError(t, err)
	overlay := regexp.MustCompile(`https://github.com/OWNER/REPOSITORY//(\S+)\?ref=v[0-9.]+`).
		ReplaceAllString(string(found[1]), filepath.ToSlash(checkout)+"/$1")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600))
	built, err := build(dir)
	require.NoError(t, err)
	objects, err := decode(built)
	require.NoError(t, err)
	return objects
}

// What an operator changes arrives where it has to.
func TestOverlayInTheDocumentation(t *testing.T) {
	settings, read, hosts := "", 0, 0
	for _, o := range documentedOverlay(t) {
		title := o.GetName()
		assert.Equal(t, "microcomm", o.GetNamespace(), title)
		switch o := o.(type) {
		case *corev1.ConfigMap:
			if strings.HasPrefix(o.Name, "settings-") {
				settings = o.Name
			}
		case *networkingv1.Ingress:
			hosts++
			assert.Equal(t, "platforms.example.com", o.Spec.Rules[0].Host)
			assert.Equal(t, []string{"platforms.example.com"}, o.Spec.TLS[0].Hosts)
			assert.Equal(t, map[string]string{"cert-manager.io/cluster-issuer": "letsencrypt"}, o.Annotations)
		case *corev1.PersistentVolumeClaim:
			assert.Equal(t, "fast", *o.Spec.StorageClassName, title)
		case *appsv1.StatefulSet:
			assert.Equal(t, "fast", *o.Spec.VolumeClaimTemplates[0].Spec.StorageClassName, title)
		}
	}
	require.NotEmpty(t, settings, "no ConfigMap settings")
	assert.Equal(t, 1, hosts)
	for _, o := range documentedOverlay(t) {
		deployment, ok := o.(*appsv1.Deployment)
		if !ok {
			continue
		}
		for _, c := range deployment.Spec.Template.Spec.Containers {
			assert.NotContains(t, c.Image, "microcomm/final/", "it is in no registry")
			if strings.HasPrefix(c.Image, "ghcr.io/OWNER/") {
				read++
				assert.True(t, strings.HasSuffix(c.Image, ":1.0.0"), c.Image)
				require.Len(t, c.EnvFrom, 1, c.Name)
				assert.Equal(t, settings, c.EnvFrom[0].ConfigMapRef.Name, c.Name)
			}
		}
	}
	assert.GreaterOrEqual(t, read, 2, "services that read the settings")
}
