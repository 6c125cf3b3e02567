package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// entranceScript is a kubectl of a cluster with this Ingress and Gateway. Without
// a Gateway it does not have the Gateway API.
func entranceScript(ingress, gateway string) string {
	return `case "$*" in
*--raw*) [ -n "` + gateway + `" ] || exit 1 ;;
*ingress*) printf '` + ingress + `' ;;
*gateway*) [ -n "` + gateway + `" ] || exit 1; printf '` + gateway + `' ;;
esac`
}

func TestEntrance(t *testing.T) {
	for name, tt := range map[string]struct {
		ingress, gateway, given string
		want                    entrance
	}{
		"an Ingress":               {"microcomm.com 10.0.0.1", "", "", entrance{"Ingress", "microcomm.com", "http://10.0.0.1"}},
		"a Gateway":                {"", "microcomm.com 10.0.0.2", "", entrance{"Gateway", "microcomm.com", "http://10.0.0.2"}},
		"both":                     {"microcomm.com 10.0.0.1", "microcomm.com 10.0.0.2", "", entrance{"Ingress", "microcomm.com", "http://10.0.0.1"}},
		"none":                     {"", "", "http://localhost:18080", entrance{}},
		"no address":               {"microcomm.com ", "", "", entrance{"Ingress", "microcomm.com", ""}},
		"the address is elsewhere": {"", "microcomm.com ", "http://localhost:18080/", entrance{"Gateway", "microcomm.com", "http://localhost:18080"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("INGRESS_URL", tt.given)
			useKubectl(t, entranceScript(tt.ingress, tt.gateway))
			got, err := cluster{context: "test"}.entrance(t.Context())
			if err != nil || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

func TestEntranceOpens(t *testing.T) {
	requests := map[string]int{} // by host
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests[r.Host]++
		if r.Host != "microcomm.com" && requests[r.Host] > 1 { // the first has its response
			enough()
		}
		if r.Host != "microcomm.com" || requests[r.Host] < 3 {
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	if err := (entrance{"Ingress", "microcomm.com", server.URL}).opens(t.Context(), time.Minute); err != nil || requests["microcomm.com"] != 3 {
		t.Errorf("got %v after %v requests, want that the third gets through", err, requests)
	}
	err := entrance{"Gateway", "other.com", server.URL}.opens(ctx, time.Minute)
	if err == nil || errors.Is(err, errUnreachable) || !strings.Contains(err.Error(), "does not lead to PlatformService: status 404") {
		t.Errorf("a host without a route: got %v", err)
	}
	server.Close()
	if err := (entrance{"Ingress", "microcomm.com", server.URL}).opens(t.Context(), time.Minute); !errors.Is(err, errUnreachable) {
		t.Errorf("no server: got %v", err)
	}
}

func TestTheHTTPRouteReplacesTheIngress(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "k8s", "gateway"), 0o755); err != nil {
		t.Fatal(err)
	}
	const route = "# routes\nkind: HTTPRoute\n"
	if err := os.WriteFile(filepath.Join(dir, "k8s", "gateway", "httproute.yml"), []byte(route), 0o600); err != nil {
		t.Fatal(err)
	}
	const others = "apiVersion: v1\nkind: Service\n---\napiVersion: v1\nkind: ConfigMap\n---\n"
	for _, manifests := range []string{
		"kind: Ingress\nmetadata: {}\n---\n" + strings.TrimSuffix(others, "---\n"),
		others + "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {}\n",
	} {
		got, err := byGateway(repo.Stage{Name: "04-ingress", Dir: dir}, manifests)
		if want := others + route; err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	var usage usageError
	if _, err := byGateway(repo.Stage{Name: "03-k8s", Dir: t.TempDir()}, others); !errors.As(err, &usage) {
		t.Errorf("without a route: got %v, want what is wrong with the flag", err)
	}
}

func TestQueueOnTooFewNodesIsReported(t *testing.T) {
	const queues = `[{"name":"events","type":"quorum","members":["rabbit@a","rabbit@b","rabbit@c"]},{"name":"own","type":"classic","members":""},{"name":"dead","type":"quorum","members":["rabbit@a"]}]`
	for name, tt := range map[string]struct{ script, want, out string }{
		"the cluster's own flags come before the program": {`case "$*" in *statefulset*) printf 1 ;; *"--namespace lab -- rabbitmqctl"*) echo '[]' ;; *) exit 64 ;; esac`, "", "0 quorum queues"},
		"one node each":   {`case "$*" in *statefulset*) printf 1 ;; *) echo '[{"name":"events","type":"quorum","members":["rabbit@a"]}]' ;; esac`, "", "1 quorum queues, each on all nodes of RabbitMQ (1)"},
		"one has one":     {`case "$*" in *statefulset*) printf 3 ;; *) echo '` + queues + `' ;; esac`, "queue dead is on [rabbit@a], and RabbitMQ has 3 nodes", ""},
		"no StatefulSet":  {`case "$*" in *statefulset*) ;; *) exit 1 ;; esac`, "", ""},
		"no response":     {`case "$*" in *statefulset*) printf 3 ;; *) echo "node is down" >&2; exit 69 ;; esac`, "node is down", ""},
		"something other": {`case "$*" in *statefulset*) printf 3 ;; *) echo "Listing queues" ;; esac`, "read what rabbitmqctl prints", ""},
	} {
		t.Run(name, func(t *testing.T) {
			useKubectl(t, tt.script)
			var out bytes.Buffer
			err := quorumQueues(t.Context(), &lab{out: &out, err: &out}, cluster{context: "test", namespace: "lab"})
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) || !strings.Contains(out.String(), tt.out) {
				t.Errorf("got %v, %q; want %q, %q", err, out.String(), tt.want, tt.out)
			}
		})
	}
}
