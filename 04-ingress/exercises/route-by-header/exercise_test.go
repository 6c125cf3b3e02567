//go:build exercise

package manifests

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// editedRoute reads the exercise's file.
func editedRoute(t *testing.T) *gatewayv1.HTTPRoute {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(os.Getenv("EXERCISE_STAGE"), "exercises/route-by-header/httproute.yml"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := decode(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if route, ok := o.(*gatewayv1.HTTPRoute); ok {
			return route
		}
	}
	t.Fatal("the file has no HTTPRoute any more")
	return nil
}

// shares returns which share of the requests, of 1, each Service gets. Of the
// rules that match, the longest path wins, then the most headers, then the first.
// https://gateway-api.sigs.k8s.io/reference/spec/#httprouterule
func shares(t *testing.T, route *gatewayv1.HTTPRoute, path string, headers map[string]string) map[string]float64 {
	t.Helper()
	var best *gatewayv1.HTTPRouteRule
	length, count := -1, -1
	for i, rule := range route.Spec.Rules {
		for _, match := range rule.Matches {
			prefix := "/"
			if match.Path != nil && match.Path.Value != nil {
				prefix = *match.Path.Value
			}
			if !pathMatches(t, match.Path, prefix, path) || !headersMatch(t, match.Headers, headers) {
				continue
			}
			if len(prefix) > length || len(prefix) == length && len(match.Headers) > count {
				best, length, count = &route.Spec.Rules[i], len(prefix), len(match.Headers)
			}
		}
	}
	got := map[string]float64{}
	if best == nil {
		return got
	}
	total := 0.0
	for _, ref := range best.BackendRefs {
		if ref.Port == nil || *ref.Port != 80 {
			t.Errorf("the backend %s is not on port 80, that of the Service", ref.Name)
		}
		total += float64(weight(ref))
		got[string(ref.Name)] += float64(weight(ref))
	}
	for name := range got {
		got[name] /= total
	}
	maps.DeleteFunc(got, func(_ string, share float64) bool { return share == 0 })
	return got
}

func weight(ref gatewayv1.HTTPBackendRef) int32 {
	if ref.Weight == nil {
		return 1
	}
	return *ref.Weight
}

func pathMatches(t *testing.T, match *gatewayv1.HTTPPathMatch, prefix, path string) bool {
	t.Helper()
	if match != nil && match.Type != nil && *match.Type == gatewayv1.PathMatchExact {
		return path == prefix
	}
	if match != nil && match.Type != nil && *match.Type == gatewayv1.PathMatchRegularExpression {
		t.Fatal("a path as a regular expression means something else on each controller: PathPrefix does it")
	}
	prefix = strings.TrimSuffix(prefix, "/")
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// headersMatch: names regardless of case, values exactly.
func headersMatch(t *testing.T, matches []gatewayv1.HTTPHeaderMatch, headers map[string]string) bool {
	t.Helper()
	for _, match := range matches {
		if match.Type != nil && *match.Type != gatewayv1.HeaderMatchExact {
			t.Fatal("a header as a regular expression: the value is known, so Exact does it")
		}
		if headers[strings.ToLower(string(match.Name))] != match.Value {
			return false
		}
	}
	return true
}

const (
	everybodys = "platforms-clusterip-srv"
	canary     = "platforms-canary-srv"
	commands   = "commands-clusterip-srv"
)

func TestTheHeaderLeadsToTheCanary(t *testing.T) {
	route := editedRoute(t)
	asked := map[string]string{"x-canary": "true"}
	for _, path := range []string{"/api/platforms", "/api/platforms/", "/api/platforms/1"} {
		if got := shares(t, route, path, asked); got[canary] != 1 {
			t.Errorf("%s with X-Canary: true goes to %v, want %s", path, got, canary)
		}
		for _, other := range []string{"false", "TRUE", ""} {
			if got := shares(t, route, path, map[string]string{"x-canary": other}); got[everybodys] == 0 {
				t.Errorf("%s with X-Canary: %s goes to %v, want it to go where others go", path, other, got)
			}
		}
	}
	for _, path := range []string{"/api/c/platforms", "/api/c/platforms/1/commands"} {
		if got := shares(t, route, path, asked); got[commands] != 1 {
			t.Errorf("%s with X-Canary: true goes to %v, want %s", path, got, commands)
		}
	}
	if got := shares(t, route, "/readyz", asked); len(got) != 0 {
		t.Errorf("/readyz with X-Canary: true goes to %v, want nowhere", got)
	}
}

func TestOneRequestInTenGoesToTheCanary(t *testing.T) {
	route := editedRoute(t)
	for _, path := range []string{"/api/platforms", "/api/platforms/1"} {
		got := shares(t, route, path, nil)
		if got[everybodys] < 0.899 || got[everybodys] > 0.901 || got[canary] < 0.099 || got[canary] > 0.101 {
			t.Errorf("%s: the shares are %v, want 0.9 for %s and 0.1 for %s", path, got, everybodys, canary)
		}
	}
	if parents := route.Spec.ParentRefs; len(parents) != 1 || parents[0].Name != "microcomm" || len(route.Spec.Hostnames) != 1 || route.Spec.Hostnames[0] != "microcomm.com" {
		t.Errorf("the route is for %v at the gateways %v, want it to stay for microcomm.com at microcomm", route.Spec.Hostnames, parents)
	}
	if got := shares(t, route, "/api/c/platforms", nil); got[commands] != 1 {
		t.Errorf("/api/c/platforms goes to %v, want %s", got, commands)
	}
}
