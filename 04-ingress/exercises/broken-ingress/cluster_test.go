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

// TestTheGatewayServesBoth takes the chapter's Ingress away, applies the file
// instead, and puts the chapter's back at the end. INGRESS_URL says where the
// controller listens, when that is not the address of the Ingress.
func TestTheGatewayServesBoth(t *testing.T) {
	stage := os.Getenv("EXERCISE_STAGE")
	gateway := os.Getenv("INGRESS_URL")
	if gateway == "" {
		gateway = "http://" + onCluster(t, "get", "ingress", "ingress-srv", "-o", "jsonpath={.status.loadBalancer.ingress[0]['ip','hostname']}")
	}
	const list = `[{"id":1,`
	t.Cleanup(func() { onCluster(t, "apply", "-f", filepath.Join(stage, "k8s/ingress-srv.yml")) })
	onCluster(t, "delete", "ingress", "ingress-srv")
	if got, gone := await(gateway+"/api/platforms", func(got string) bool { return !strings.Contains(got, list) }); !gone {
		t.Fatalf("without an Ingress the gateway still serves %q", got)
	}
	onCluster(t, "apply", "-f", filepath.Join(stage, "exercises/broken-ingress/ingress-srv.yml"))
	for path, want := range map[string]string{
		"/api/platforms":                 list,
		"/api/c/platforms/4711/commands": `"there is no platform 4711"`, // CommandsService's own 404, not the gateway's
	} {
		if got, ok := await(gateway+path, func(got string) bool { return strings.Contains(got, want) }); !ok {
			t.Errorf("microcomm.com%s, by way of %s: got %q, want %q", path, gateway, got, want)
		}
	}
	if got := ask(gateway + "/readyz"); strings.Contains(got, `"status":"ready"`) {
		t.Errorf("/readyz is reachable from outside: %q", got)
	}
}

// await asks until the response is as wanted, for half a minute, and returns the
// last one.
func await(url string, wanted func(string) bool) (got string, ok bool) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); <-tick.C {
		if got = ask(url); wanted(got) {
			return got, true
		}
	}
	return got, false
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
