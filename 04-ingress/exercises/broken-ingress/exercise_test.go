//go:build exercise

package manifests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// mendedIngress reads the exercise's file.
func mendedIngress(t *testing.T) *networkingv1.Ingress {
	t.Helper()
	for _, o := range readFiles(t, "exercises/broken-ingress/ingress-srv.yml") {
		if ingress, ok := o.(*networkingv1.Ingress); ok && ingress.Name == "ingress-srv" {
			return ingress
		}
	}
	t.Fatal("the file has no Ingress ingress-srv any more")
	return nil
}

func readFiles(t *testing.T, files ...string) (objects []metav1.Object) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(os.Getenv("EXERCISE_STAGE"), file))
		if err != nil {
			t.Fatal(err)
		}
		more, err := decode(text)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, more...)
	}
	return objects
}

// serviceFor returns the Service that a controller sends a request to, "" for
// none. https://kubernetes.io/docs/concepts/services-networking/ingress/#multiple-matches
func serviceFor(ingress *networkingv1.Ingress, host, path string) string {
	service, longest, exact := "", -1, false
	for _, rule := range ingress.Spec.Rules {
		if rule.Host != "" && rule.Host != host || rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			prefix := strings.TrimSuffix(p.Path, "/")
			isExact := p.PathType != nil && *p.PathType == networkingv1.PathTypeExact
			matches := path == prefix || strings.HasPrefix(path, prefix+"/")
			if isExact {
				matches = path == p.Path
			}
			if matches && p.Backend.Service != nil && (len(prefix) > longest || len(prefix) == longest && isExact && !exact) {
				service, longest, exact = p.Backend.Service.Name, len(prefix), isExact
			}
		}
	}
	if longest < 0 && ingress.Spec.DefaultBackend != nil && ingress.Spec.DefaultBackend.Service != nil {
		return ingress.Spec.DefaultBackend.Service.Name
	}
	return service
}

func TestAControllerTakesIt(t *testing.T) {
	ingress := mendedIngress(t)
	if class := ingress.Spec.IngressClassName; class == nil || *class != "nginx" {
		t.Error("spec.ingressClassName does not say nginx: no controller feels responsible")
	}
	for name := range ingress.Annotations {
		t.Errorf("the annotation %s: the routes need none", name)
	}
}

func TestEachPathReachesItsService(t *testing.T) {
	ingress := mendedIngress(t)
	const platforms, commands, noService = "platforms-clusterip-srv", "commands-clusterip-srv", ""
	for path, want := range map[string]string{
		"/api/platforms":                 platforms,
		"/api/platforms/":                platforms,
		"/api/platforms/1":               platforms,
		"/api/c/platforms":               commands,
		"/api/c/platforms/":              commands,
		"/api/c/platforms/1/commands":    commands,
		"/api/c/platforms/1/commands/12": commands,
		"/":                              noService,
		"/api":                           noService,
		"/api/platformsfoo":              noService,
		"/livez":                         noService,
		"/readyz":                        noService,
	} {
		if got := serviceFor(ingress, "microcomm.com", path); got != want {
			t.Errorf("microcomm.com%s goes to %q, want %q", path, got, want)
		}
	}
	for _, rule := range ingress.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			if p.PathType == nil || *p.PathType == networkingv1.PathTypeImplementationSpecific {
				t.Errorf("what the path %s means is left to each controller: say Prefix or Exact", p.Path)
			}
		}
	}
	if got := serviceFor(ingress, "example.com", "/api/platforms"); got != noService {
		t.Errorf("example.com/api/platforms goes to %q: only microcomm.com is ours", got)
	}
}

func TestTheBackendsExist(t *testing.T) {
	own := stage{name: "04-ingress", dir: os.Getenv("EXERCISE_STAGE")}
	objects := append(readFiles(t, "k8s/platforms-depl.yml", "k8s/commands-depl.yml"), mendedIngress(t))
	for _, problem := range check(own, objects) {
		if strings.HasPrefix(problem, "Ingress") {
			t.Error(problem)
		}
	}
}
