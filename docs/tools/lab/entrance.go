package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// entrance is how requests get into the cluster: by an Ingress, or by a Gateway
// with an HTTPRoute.
type entrance struct {
	kind string // Ingress or Gateway; empty: there is none
	host string // that it has rules for
	url  string // where its controller listens; empty: it does not say
}

// entrance finds the namespace's Ingress or, when there is none, its Gateway.
// INGRESS_URL says where the controller listens, when not at the address that
// the object has.
func (k cluster) entrance(ctx context.Context) (entrance, error) {
	found := entrance{kind: "Ingress"}
	out, err := k.run(ctx, "", "get", "ingress", "ingress-srv", "--ignore-not-found", "-o",
		"jsonpath={.spec.rules[0].host} {.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}")
	if err == nil && out == "" && k.serves(ctx, gatewayAPI) {
		found.kind = "Gateway"
		out, err = k.run(ctx, "", "get", gatewayKind, "microcomm", "--ignore-not-found", "-o",
			"jsonpath={.spec.listeners[0].hostname} {.status.addresses[0].value}")
	}
	if err != nil || out == "" {
		return entrance{}, err
	}
	var address string
	found.host, address, _ = strings.Cut(out, " ")
	switch given := os.Getenv("INGRESS_URL"); {
	case given != "":
		found.url = strings.TrimSuffix(given, "/")
	case address != "":
		found.url = "http://" + address
	}
	return found, nil
}

const (
	gatewayAPI  = "/apis/gateway.networking.k8s.io/v1"
	gatewayKind = "gateways.gateway.networking.k8s.io"
	routeKind   = "httproutes.gateway.networking.k8s.io"
	metricsAPI  = "/apis/metrics.k8s.io/v1beta1"
)

// serves reports whether the cluster has that part of the API.
func (k cluster) serves(ctx context.Context, api string) bool {
	_, err := k.run(ctx, "", "get", "--raw", api)
	return err == nil
}

// opens waits until requests reach PlatformService: a controller needs some seconds for
// a new route. The error is errUnreachable if nothing listens at the address.
func (e entrance) opens(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	var last error // of the last request that was not cut short
	for {
		status, err := e.ask(ctx)
		switch {
		case err == nil && (status == http.StatusOK || status == http.StatusUnauthorized): // it wants a token
			return nil
		case err == nil:
			last = fmt.Errorf("the %s at %s does not lead to PlatformService: status %d", e.kind, e.url, status)
		case ctx.Err() == nil:
			return fmt.Errorf("%w: %w", errUnreachable, err)
		case last == nil:
			last = fmt.Errorf("%w: %w", errUnreachable, err)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return last
		}
	}
}

var errUnreachable = errors.New("no response")

// ask requests one platform of the list, and returns the status.
func (e entrance) ask(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/api/platforms?limit=1", nil)
	if err != nil {
		return 0, err
	}
	request.Host = e.host
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	response.Body.Close()
	return response.StatusCode, nil
}

// byGateway replaces the Ingress in the manifests by the stage's HTTPRoute.
func byGateway(s repo.Stage, manifests string) (string, error) {
	route, err := os.ReadFile(filepath.Join(s.Dir, "k8s", "gateway", "httproute.yml"))
	if os.IsNotExist(err) {
		return "", usageError(fmt.Sprintf("%s has no HTTPRoute: it comes with the Ingress, in 04-ingress", s.Name))
	}
	if err != nil {
		return "", err
	}
	var kept []string
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		if !strings.Contains("\n"+document, "\nkind: Ingress\n") {
			kept = append(kept, strings.TrimSuffix(document, "\n"))
		}
	}
	return strings.Join(append(kept, string(route)), "\n---\n"), nil
}
