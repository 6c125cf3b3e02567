package manifests

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// The namespaces of those who are not part of this, as policies name them.
const (
	ingressControllers = "namespaces ingress-nginx, traefik, nginx-gateway, envoy-gateway-system"
	monitoring         = "namespaces monitoring"
)

// hops: policies allow, at both ends, the connections that are made, and no other
// between our pods. The connections are those that the settings speak of.
func (s *set) hops() {
	policies := slices.ContainsFunc(s.others, func(o metav1.Object) bool { _, ok := o.(*networkingv1.NetworkPolicy); return ok })
	if !policies {
		return
	}
	needed := s.connections()
	in, out := s.allowed()
	for _, hop := range slices.Sorted(maps.Keys(needed)) {
		if !strings.HasPrefix(hop, "namespaces ") && !strings.HasPrefix(hop, "Gateway ") && !out[hop] {
			s.complain("no NetworkPolicy lets this out: %s", hop)
		}
		if !strings.Contains(hop, " to namespaces ") && !in[hop] {
			s.complain("no NetworkPolicy lets this in: %s", hop)
		}
	}
	maps.Copy(in, out)
	for _, hop := range slices.Sorted(maps.Keys(in)) {
		if !needed[hop] {
			s.complain("a NetworkPolicy allows what nobody needs: %s", hop)
		}
	}
}

func hop(from, to, port string) string { return fmt.Sprintf("%s to %s, port %s", from, to, port) }

var sqlcmdServer = regexp.MustCompile(`sqlcmd .*-S (\S+)`)

// connections are the hops that the workloads' settings ask for.
func (s *set) connections() map[string]bool {
	needed := map[string]bool{}
	for _, w := range s.workloads {
		for _, c := range w.template.Spec.Containers {
			for _, env := range c.Env {
				for _, match := range slices.Concat(urlHost.FindAllStringSubmatch(env.Value, -1), hostPort.FindAllStringSubmatch(env.Value, -1)) {
					s.connect(needed, w.title, match[1], func(p corev1.ServicePort) bool { return match[2] == "" || fmt.Sprint(p.Port) == match[2] })
				}
			}
			for _, match := range sqlcmdServer.FindAllStringSubmatch(strings.Join(c.Command, " "), -1) {
				s.connect(needed, w.title, match[1], func(corev1.ServicePort) bool { return true })
			}
			for _, port := range c.Ports {
				if port.Name == "rbmq-metrics" {
					needed[hop(monitoring, w.title, port.Name)] = true // Prometheus
				}
			}
			if strings.HasPrefix(c.Image, "microcomm/") {
				needed[hop(monitoring, w.title, metricsPort(c))] = true // Prometheus
			}
			if slices.ContainsFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == "OTEL_EXPORTER_OTLP_ENDPOINT" }) {
				needed[hop(w.title, monitoring, "4317")] = true // a collector instead
				needed[hop(w.title, monitoring, "4318")] = true
			}
		}
		if w.kind == "StatefulSet" {
			s.peers(needed, w)
		}
	}
	for _, o := range s.others {
		switch o := o.(type) {
		case *networkingv1.Ingress:
			for _, rule := range o.Spec.Rules {
				for _, path := range rule.HTTP.Paths {
					s.connect(needed, ingressControllers, path.Backend.Service.Name, func(p corev1.ServicePort) bool { return p.Name == path.Backend.Service.Port.Name })
				}
			}
		case *gatewayv1.HTTPRoute: // NGINX Gateway Fabric's pods are beside the Gateway
			for _, rule := range o.Spec.Rules {
				for _, ref := range rule.BackendRefs {
					s.connect(needed, "Gateway "+string(o.Spec.ParentRefs[0].Name), string(ref.Name), func(p corev1.ServicePort) bool { return ref.Port != nil && p.Port == int32(*ref.Port) })
				}
			}
		}
	}
	return needed
}

// metricsPort is the port that serves /metrics.
func metricsPort(c corev1.Container) string {
	if slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == "admin" }) {
		return "admin"
	}
	return "http"
}

// connect adds the hops to the pods behind a Service.
func (s *set) connect(needed map[string]bool, from, service string, wanted func(corev1.ServicePort) bool) {
	service, _, _ = strings.Cut(service, ".")
	if s.services[service] == nil {
		return // environment has complained
	}
	for _, w := range s.workloads {
		for _, port := range s.services[service].Spec.Ports {
			if contains(w.template.Labels, s.services[service].Spec.Selector) && wanted(port) {
				needed[hop(from, w.title, port.TargetPort.String())] = true
			}
		}
	}
}

// gateway is the Gateway whose pods a selector means, as "Gateway NAME", or
// nothing. The controller makes these pods, and labels them so.
func (s *set) gateway(selector *metav1.LabelSelector) string {
	title := "Gateway " + selector.MatchLabels["gateway.networking.k8s.io/gateway-name"]
	if !s.names[title] {
		return ""
	}
	return title
}

// peers adds the hops between the pods of a StatefulSet: its ports that no
// Service has are for them, but for Prometheus's.
func (s *set) peers(needed map[string]bool, w workload) {
	for _, c := range w.template.Spec.Containers {
		for _, port := range c.Ports {
			served := false
			for _, service := range s.services {
				served = served || contains(w.template.Labels, service.Spec.Selector) &&
					slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.TargetPort.StrVal == port.Name })
			}
			if !served && port.Name != "rbmq-metrics" {
				needed[hop(w.title, w.title, port.Name)] = true
			}
		}
	}
}

// allowed are the hops that policies let in, and out. Those to everywhere are
// the rule of dns.
func (s *set) allowed() (in, out map[string]bool) {
	in, out = map[string]bool{}, map[string]bool{}
	for _, o := range s.others {
		policy, ok := o.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		for _, w := range s.workloads {
			if !contains(w.template.Labels, policy.Spec.PodSelector.MatchLabels) {
				continue
			}
			for _, rule := range policy.Spec.Ingress {
				for _, from := range s.named(rule.From) {
					for _, port := range rule.Ports {
						in[hop(from, w.title, port.Port.String())] = true
					}
				}
			}
			for _, rule := range policy.Spec.Egress {
				for _, to := range s.named(rule.To) {
					for _, port := range rule.Ports {
						out[hop(w.title, to, port.Port.String())] = true
					}
				}
			}
		}
	}
	return in, out
}

// named are the workloads and the namespaces that peers stand for.
func (s *set) named(peers []networkingv1.NetworkPolicyPeer) []string {
	var names []string
	for _, peer := range peers {
		if space := peer.NamespaceSelector; space != nil {
			values := []string{space.MatchLabels["kubernetes.io/metadata.name"]}
			for _, expression := range space.MatchExpressions {
				values = expression.Values
			}
			names = append(names, "namespaces "+strings.Join(values, ", "))
			continue
		}
		if peer.PodSelector == nil {
			continue
		}
		if gateway := s.gateway(peer.PodSelector); gateway != "" {
			names = append(names, gateway)
		}
		for _, w := range s.workloads {
			if contains(w.template.Labels, peer.PodSelector.MatchLabels) {
				names = append(names, w.title)
			}
		}
	}
	return names
}
