//go:build exercise

package manifests

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// onCluster runs kubectl where chapter 04 has been deployed to.
func onCluster(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args = append([]string{"--context", os.Getenv("KUBE_CONTEXT"), "--namespace", os.Getenv("KUBE_NAMESPACE")}, args...)
	out, err := exec.CommandContext(ctx, "kubectl", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %s", strings.Join(args, " "), out)
	}
	return strings.TrimSpace(string(out))
}

// TestTheGatewayServesBoth applies the file over the chapter's Ingress, which it
// puts back at the end. INGRESS_URL says where the controller listens, when that
// is not the address of the Ingress.
func TestTheGatewayServesBoth(t *testing.T) {
	stage := os.Getenv("EXERCISE_STAGE")
	t.Cleanup(func() { onCluster(t, "replace", "-f", filepath.Join(stage, "k8s/ingress-srv.yml")) })
	onCluster(t, "apply", "-f", filepath.Join(stage, "exercises/broken-ingress/ingress-srv.yml"))
	gateway := os.Getenv("INGRESS_URL")
	if gateway == "" {
		gateway = "http://" + onCluster(t, "get", "ingress", "ingress-srv", "-o", "jsonpath={.status.loadBalancer.ingress[0]['ip','hostname']}")
	}
	const platforms, unknown, nobody = `[{"id":1,`, `"there is no platform 4711"`, "nobody"
	for path, want := range map[string]string{
		"/api/platforms":                 platforms,
		"/api/c/platforms/4711/commands": unknown, // CommandsService's own 404, not the gateway's
		"/readyz":                        nobody,
	} {
		deadline := time.Now().Add(30 * time.Second)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			got := ask(gateway + path)
			ours := strings.Contains(got, want) || want == nobody && !strings.Contains(got, `"status":"ready"`)
			if ours {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("microcomm.com%s, by way of %s: got %q, want %q", path, gateway, got, want)
				break
			}
			<-tick.C
		}
	}
}

// ask returns the body of the response, or why there is none.
func ask(url string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	request.Host = "microcomm.com"
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1000))
	if err != nil {
		return err.Error()
	}
	return string(body)
}
