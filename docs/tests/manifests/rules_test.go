package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// workload is what runs pods: a Deployment, a StatefulSet or a Job.
type workload struct {
	title    string // Deployment platforms-depl
	name     string
	kind     string
	selector *metav1.LabelSelector
	template corev1.PodTemplateSpec
	claims   []string // of its own: volumeClaimTemplates
}

// set is a stage's objects, sorted out.
type set struct {
	stage     stage
	workloads []workload
	services  map[string]*corev1.Service
	others    []metav1.Object
	names     map[string]bool // "ConfigMap x"
	problems  []string
}

func (s *set) complain(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

// check gives all that is wrong with the objects as a whole.
func check(from stage, objects []metav1.Object) []string {
	s := &set{stage: from, services: map[string]*corev1.Service{}, names: map[string]bool{}}
	for _, o := range objects {
		kind := strings.TrimPrefix(fmt.Sprintf("%T", o), "*v1.")
		kind = strings.TrimPrefix(kind, "*v2.")
		title := kind + " " + o.GetName()
		if s.names[title] {
			s.complain("%s is there twice", title)
		}
		s.names[title] = true
		s.labels(title, o.GetLabels())
		switch o := o.(type) {
		case *appsv1.Deployment:
			s.workloads = append(s.workloads, workload{title, o.Name, kind, o.Spec.Selector, o.Spec.Template, nil})
		case *appsv1.StatefulSet:
			w := workload{title, o.Name, kind, o.Spec.Selector, o.Spec.Template, nil}
			for _, claim := range o.Spec.VolumeClaimTemplates {
				w.claims = append(w.claims, claim.Name)
				s.labels(title+", claim "+claim.Name, claim.Labels)
			}
			s.workloads = append(s.workloads, w)
		case *batchv1.Job:
			s.job(o)
			s.workloads = append(s.workloads, workload{title, o.Name, kind, nil, o.Spec.Template, nil})
		case *corev1.Service:
			s.services[o.Name] = o
		default:
			s.others = append(s.others, o)
		}
	}
	for _, w := range s.workloads {
		s.workload(w)
	}
	for _, o := range objects {
		if service, ok := o.(*corev1.Service); ok {
			s.service(service)
		}
	}
	for _, o := range s.others {
		s.other(o)
	}
	s.dns()
	s.hops()
	s.logins()
	s.routes()
	return s.problems
}

// labels: `lab undeploy` finds things by them.
func (s *set) labels(title string, labels map[string]string) {
	if labels["app.kubernetes.io/part-of"] != "microcomm" || labels["app.kubernetes.io/name"] == "" {
		s.complain("%s lacks the labels app.kubernetes.io/name and part-of=microcomm", title)
	}
}

func contains(labels, wanted map[string]string) bool {
	for key, value := range wanted {
		if labels[key] != value {
			return false
		}
	}
	return len(wanted) > 0
}

func (s *set) workload(w workload) {
	if w.selector != nil && !contains(w.template.Labels, w.selector.MatchLabels) {
		s.complain("%s: its selector does not match its pods' labels", w.title)
	}
	s.labels(w.title+", pods", w.template.Labels)
	pod := w.template.Spec
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		s.complain("%s: its pods get a token for Kubernetes that they do not need", w.title)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		s.complain("%s: its pods use the node's own network or processes", w.title)
	}
	for _, spread := range pod.TopologySpreadConstraints {
		if spread.LabelSelector == nil || !contains(w.template.Labels, spread.LabelSelector.MatchLabels) {
			s.complain("%s: it spreads other pods than its own", w.title)
		}
	}
	s.volumes(w)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		title := w.title + ", container " + c.Name
		s.security(title, pod.SecurityContext, c)
		s.image(title, c)
		s.environment(title, c)
		s.memory(title, c)
		for _, amount := range []struct {
			what string
			list corev1.ResourceList
		}{{"requests", c.Resources.Requests}, {"limits", c.Resources.Limits}} {
			if amount.list.Cpu().IsZero() || amount.list.Memory().IsZero() {
				s.complain("%s: no %s of cpu and memory", title, amount.what)
			}
			if s.stage.name == "final" && amount.list.StorageEphemeral().IsZero() {
				s.complain("%s: no %s of ephemeral-storage", title, amount.what)
			}
		}
	}
	if w.kind == "Job" {
		return // it is not probed, and job sees to its end
	}
	for _, c := range pod.Containers {
		s.probes(w.title+", container "+c.Name, pod, c)
	}
}

func (s *set) volumes(w workload) {
	have := map[string]bool{}
	for _, claim := range w.claims {
		have[claim] = true
	}
	for _, v := range w.template.Spec.Volumes {
		have[v.Name] = true
		switch {
		case v.HostPath != nil:
			s.complain("%s: volume %s is a folder of the node", w.title, v.Name)
		case v.PersistentVolumeClaim != nil && !s.names["PersistentVolumeClaim "+v.PersistentVolumeClaim.ClaimName]:
			s.complain("%s: there is no PersistentVolumeClaim %s", w.title, v.PersistentVolumeClaim.ClaimName)
		case v.ConfigMap != nil && !s.names["ConfigMap "+v.ConfigMap.Name]:
			s.complain("%s: there is no ConfigMap %s", w.title, v.ConfigMap.Name)
		case v.Secret != nil && !s.stage.makesSecret(v.Secret.SecretName, ""):
			s.complain("%s: nothing makes the Secret %s", w.title, v.Secret.SecretName)
		}
	}
	for _, c := range slices.Concat(w.template.Spec.InitContainers, w.template.Spec.Containers) {
		for _, mount := range c.VolumeMounts {
			if !have[mount.Name] {
				s.complain("%s: there is no volume %s", w.title, mount.Name)
			}
		}
	}
}

func (s *set) security(title string, pod *corev1.PodSecurityContext, c corev1.Container) {
	if pod == nil || pod.RunAsNonRoot == nil || !*pod.RunAsNonRoot {
		s.complain("%s may run as root", title)
	}
	if pod == nil || pod.SeccompProfile == nil || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		s.complain("%s: no seccomp profile RuntimeDefault", title)
	}
	security := c.SecurityContext
	if security == nil {
		security = &corev1.SecurityContext{}
	}
	if security.Privileged != nil && *security.Privileged {
		s.complain("%s is privileged", title)
	}
	if security.AllowPrivilegeEscalation == nil || *security.AllowPrivilegeEscalation {
		s.complain("%s: privileges may escalate", title)
	}
	if security.Capabilities == nil || !slices.Contains(security.Capabilities.Drop, "ALL") {
		s.complain("%s: capabilities are not dropped", title)
	}
	// SQL Server's server writes outside of its volume; its sqlcmd does not.
	writable := strings.HasPrefix(c.Image, "mcr.microsoft.com/mssql/server:") && len(c.Command) == 0
	if !writable && (security.ReadOnlyRootFilesystem == nil || !*security.ReadOnlyRootFilesystem) {
		s.complain("%s: its root file system can be written to", title)
	}
}

func (s *set) image(title string, c corev1.Container) {
	name, tag, found := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
	if !found || tag == "latest" || name == "" {
		s.complain("%s: image %q does not say which version", title, c.Image)
	}
	if c.ImagePullPolicy == "" {
		s.complain("%s: no imagePullPolicy", title)
	}
	if strings.HasPrefix(c.Image, "microcomm/") && !strings.HasPrefix(c.Image, "microcomm/"+s.stage.name+"/") {
		s.complain("%s: image %s is another stage's", title, c.Image)
	}
}

// memory: of final's own containers, the limit that Go knows of follows from the
// one that ends the container.
func (s *set) memory(title string, c corev1.Container) {
	if s.stage.name != "final" || !strings.HasPrefix(c.Image, "microcomm/") {
		return
	}
	value := ""
	for _, env := range c.Env {
		if env.Name == "GOMEMLIMIT" {
			value = env.Value
		}
	}
	if problem := goMemory(value, c.Resources.Limits.Memory().String()); problem != "" {
		s.complain("%s: %s", title, problem)
	}
}

// goMemory says what is wrong with GOMEMLIMIT beside a limit such as 128Mi.
func goMemory(value, limit string) string {
	most, err := resource.ParseQuantity(limit)
	if err != nil || most.IsZero() {
		return fmt.Sprintf("the limit %q of its memory cannot be read", limit)
	}
	if value == "" {
		return "GOMEMLIMIT is not set"
	}
	soft, err := resource.ParseQuantity(strings.TrimSuffix(value, "B"))
	if ratio := soft.AsApproximateFloat64() / most.AsApproximateFloat64(); err != nil || ratio < 0.85 || ratio > 0.95 {
		return fmt.Sprintf("GOMEMLIMIT=%s is not 85 to 95%% of the limit %s", value, limit)
	}
	return ""
}

var (
	urlHost  = regexp.MustCompile(`//(?:[^@/]*@)?([A-Za-z0-9.-]+)(?::(\d+))?`)
	hostPort = regexp.MustCompile(`^(?:dns:///)?([A-Za-z0-9][A-Za-z0-9.-]*):(\d+)$`)
	variable = regexp.MustCompile(`\$\(([A-Za-z_]+)\)`)
)

// environment: values that are read from elsewhere exist there, hosts are
// Services, and a variable of our own services is one that they read.
func (s *set) environment(title string, c corev1.Container) {
	defined := map[string]bool{}
	used := map[string]bool{}
	for _, env := range c.Env {
		secret := strings.Contains(env.Name, "PASSWORD") || strings.HasSuffix(env.Name, "_PASS") || strings.Contains(env.Name, "COOKIE")
		if secret && (env.ValueFrom == nil || env.ValueFrom.SecretKeyRef == nil) {
			s.complain("%s: %s does not come from a Secret", title, env.Name)
		}
		if env.ValueFrom != nil {
			if ref := env.ValueFrom.SecretKeyRef; ref != nil && !s.stage.makesSecret(ref.Name, ref.Key) {
				s.complain("%s: nothing makes the Secret %s with key %s", title, ref.Name, ref.Key)
			}
			if ref := env.ValueFrom.ConfigMapKeyRef; ref != nil && !s.names["ConfigMap "+ref.Name] {
				s.complain("%s: there is no ConfigMap %s", title, ref.Name)
			}
		}
		for _, match := range variable.FindAllStringSubmatch(env.Value, -1) {
			used[match[1]] = true
			if !defined[match[1]] {
				s.complain("%s: %s uses $(%s), which is not defined before it", title, env.Name, match[1])
			}
		}
		defined[env.Name] = true
		for _, match := range slices.Concat(urlHost.FindAllStringSubmatch(env.Value, -1), hostPort.FindAllStringSubmatch(env.Value, -1)) {
			s.host(title+", "+env.Name, match[1], match[2])
		}
	}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil && from.ConfigMapRef.Optional == nil && !s.names["ConfigMap "+from.ConfigMapRef.Name] {
			s.complain("%s: there is no ConfigMap %s", title, from.ConfigMapRef.Name)
		}
		if from.SecretRef != nil && !s.stage.makesSecret(from.SecretRef.Name, "") {
			s.complain("%s: nothing makes the Secret %s", title, from.SecretRef.Name)
		}
	}
	if strings.HasPrefix(c.Image, "microcomm/") {
		for _, env := range c.Env {
			if s.stage.name == "final" && env.Name == "COMMANDS_SERVICE_URL" {
				s.complain("%s: a POST waits for CommandsService", title)
			}
			if !used[env.Name] && !s.stage.reads(c.Image, env.Name) {
				s.complain("%s does not read %s", title, env.Name)
			}
		}
	}
}

// host: a name in a URL is that of a Service, and has that port.
func (s *set) host(title, host, port string) {
	if host == "localhost" {
		return
	}
	name, _, _ := strings.Cut(host, ".")
	service := s.services[name]
	if service == nil {
		s.complain("%s: there is no Service %s", title, host)
		return
	}
	has := func(p corev1.ServicePort) bool { return port == "" || fmt.Sprint(p.Port) == port }
	if !slices.ContainsFunc(service.Spec.Ports, has) {
		s.complain("%s: Service %s has no port %s", title, host, port)
	}
}

// probes: three that mean different things, and a stop that drains.
func (s *set) probes(title string, pod corev1.PodSpec, c corev1.Container) {
	for name, probe := range map[string]*corev1.Probe{
		"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe,
	} {
		switch {
		case probe == nil:
			s.complain("%s: no %s probe", title, name)
		case probe.HTTPGet != nil:
			s.portName(title+", "+name+" probe", probe.HTTPGet.Port, c)
			if want := metricsPort(c); strings.HasPrefix(c.Image, "microcomm/") && probe.HTTPGet.Port.StrVal != want {
				s.complain("%s, %s probe: port %s serves the probes, not %s", title, name, want, probe.HTTPGet.Port.String())
			}
		case probe.TCPSocket != nil:
			s.portName(title+", "+name+" probe", probe.TCPSocket.Port, c)
		}
	}
	listens := func(e corev1.EnvVar) bool { return e.Name == "PLATFORMS_ADMIN_ADDR" || e.Name == "COMMANDS_ADMIN_ADDR" }
	if metricsPort(c) == "admin" && !slices.ContainsFunc(c.Env, listens) {
		s.complain("%s: it has a port admin, and no PLATFORMS_ADMIN_ADDR or COMMANDS_ADMIN_ADDR", title)
	}
	ready, live := c.ReadinessProbe, c.LivenessProbe
	if ready != nil && live != nil {
		chapters := s.stage.name != "final" && ready.TCPSocket != nil // they keep SQL Server's short
		if reflect.DeepEqual(ready.ProbeHandler, live.ProbeHandler) && !chapters {
			s.complain("%s: readiness and liveness ask the same", title)
		}
	}
	if !strings.HasPrefix(c.Image, "microcomm/") {
		return
	}
	grace := int64(30)
	if pod.TerminationGracePeriodSeconds != nil {
		grace = *pod.TerminationGracePeriodSeconds
	}
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil || c.Lifecycle.PreStop.Sleep == nil {
		s.complain("%s: it gets SIGTERM while requests still come (no preStop sleep)", title)
	} else if grace < c.Lifecycle.PreStop.Sleep.Seconds+stopLimit+stopRoom {
		s.complain("%s: terminationGracePeriodSeconds leaves no time to finish after preStop", title)
	}
}

// A service takes stopLimit seconds at most to stop after SIGTERM: 12 for the
// requests under way, and 6 for the broker. What kills it has to come later.
const stopLimit, stopRoom = 12 + 6, 5

func (s *set) portName(title string, port intstr.IntOrString, containers ...corev1.Container) {
	for _, c := range containers {
		if port.Type == intstr.String && slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.StrVal }) {
			return
		}
	}
	s.complain("%s: %s is not the name of a container port", title, port.String())
}

func (s *set) service(service *corev1.Service) {
	title := "Service " + service.Name
	found := false
	for _, w := range s.workloads {
		if !contains(w.template.Labels, service.Spec.Selector) {
			continue
		}
		found = true
		for _, port := range service.Spec.Ports {
			s.portName(title, port.TargetPort, w.template.Spec.Containers...)
		}
	}
	if !found {
		s.complain("%s: its selector matches no pods", title)
	}
}

// selects tells if a selector matches the pods of a workload.
func (s *set) selects(selector *metav1.LabelSelector) bool {
	return selector != nil && slices.ContainsFunc(s.workloads, func(w workload) bool {
		return contains(w.template.Labels, selector.MatchLabels)
	})
}

func (s *set) other(o metav1.Object) {
	switch o := o.(type) {
	case *policyv1.PodDisruptionBudget:
		if !s.selects(o.Spec.Selector) {
			s.complain("PodDisruptionBudget %s: its selector matches no pods", o.Name)
		}
	case *autoscalingv2.HorizontalPodAutoscaler:
		if target := o.Spec.ScaleTargetRef; !s.names[target.Kind+" "+target.Name] {
			s.complain("HorizontalPodAutoscaler %s: there is no %s %s", o.Name, target.Kind, target.Name)
		}
		s.autoscaling(o)
	case *networkingv1.NetworkPolicy:
		s.policy(o)
	case *corev1.PersistentVolumeClaim:
		if !slices.Equal(o.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}) {
			s.complain("PersistentVolumeClaim %s: kind and k3s have ReadWriteOnce only", o.Name)
		}
	}
}

// job: it ends, and what it said stays to be read (OnFailure deletes the pod).
func (s *set) job(o *batchv1.Job) {
	if o.Spec.ActiveDeadlineSeconds == nil {
		s.complain("Job %s: it may wait for ever (no activeDeadlineSeconds)", o.Name)
	}
	if o.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
		s.complain("Job %s: its log goes with its last attempt (restartPolicy is not Never)", o.Name)
	}
}

// autoscaling: a share of the request is what it scales at. At less than a tenth
// of a CPU it would count probes, not load.
func (s *set) autoscaling(o *autoscalingv2.HorizontalPodAutoscaler) {
	for _, w := range s.workloads {
		if w.kind != o.Spec.ScaleTargetRef.Kind || w.name != o.Spec.ScaleTargetRef.Name {
			continue
		}
		var request, limit int64
		for _, c := range w.template.Spec.Containers {
			request += c.Resources.Requests.Cpu().MilliValue()
			limit += c.Resources.Limits.Cpu().MilliValue()
		}
		for _, metric := range o.Spec.Metrics {
			if metric.Resource == nil || metric.Resource.Name != corev1.ResourceCPU || metric.Resource.Target.AverageUtilization == nil {
				s.complain("HorizontalPodAutoscaler %s: it does not scale by a share of the CPU request", o.Name)
				continue
			}
			if at := request * int64(*metric.Resource.Target.AverageUtilization) / 100; at < 100 || at > limit*3/4 {
				s.complain("HorizontalPodAutoscaler %s: it scales at %dm of CPU, with a limit of %dm", o.Name, at, limit)
			}
		}
	}
}

// dns: whoever may not talk to everybody may still ask for a name, wherever the
// cluster's DNS is: in kube-system, on the node itself, or behind port 5353.
func (s *set) dns() {
	wanted := []string{"TCP 53", "TCP 5353", "UDP 53", "UDP 5353"}
	for _, w := range s.workloads {
		var open []string
		isolated := false
		for _, o := range s.others {
			policy, ok := o.(*networkingv1.NetworkPolicy)
			if !ok || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) ||
				!contains(w.template.Labels, policy.Spec.PodSelector.MatchLabels) {
				continue
			}
			isolated = true
			for _, rule := range policy.Spec.Egress {
				if len(rule.To) > 0 {
					continue
				}
				for _, port := range rule.Ports {
					open = append(open, fmt.Sprint(*port.Protocol, " ", port.Port))
				}
			}
		}
		slices.Sort(open)
		if isolated && !slices.Equal(open, wanted) {
			s.complain("%s: open to everywhere are ports %v, want those of DNS, %v", w.title, open, wanted)
		}
	}
}

func (s *set) policy(o *networkingv1.NetworkPolicy) {
	title := "NetworkPolicy " + o.Name
	all := len(o.Spec.PodSelector.MatchLabels) == 0 && len(o.Spec.PodSelector.MatchExpressions) == 0
	if !all && !s.selects(&o.Spec.PodSelector) {
		s.complain("%s: its selector matches no pods", title)
	}
	peers := func(list []networkingv1.NetworkPolicyPeer) {
		for _, peer := range list {
			if peer.NamespaceSelector == nil && peer.PodSelector != nil && !s.selects(peer.PodSelector) && s.gateway(peer.PodSelector) == "" {
				s.complain("%s: it allows pods that do not exist", title)
			}
		}
	}
	ports := func(selector *metav1.LabelSelector, list []networkingv1.NetworkPolicyPort) {
		for _, w := range s.workloads {
			for _, port := range list {
				if selector != nil && port.Port != nil && contains(w.template.Labels, selector.MatchLabels) {
					s.portName(title, *port.Port, w.template.Spec.Containers...)
				}
			}
		}
	}
	for _, rule := range o.Spec.Ingress {
		peers(rule.From)
		ports(&o.Spec.PodSelector, rule.Ports)
	}
	for _, rule := range o.Spec.Egress {
		peers(rule.To)
		for _, peer := range rule.To {
			ports(peer.PodSelector, rule.Ports)
		}
	}
}

// routes: every backend exists, and Ingress and HTTPRoute say the same.
func (s *set) routes() {
	var byIngress, byGateway []string
	for _, o := range s.others {
		switch o := o.(type) {
		case *networkingv1.Ingress:
			for _, rule := range o.Spec.Rules {
				for _, path := range rule.HTTP.Paths {
					backend := path.Backend.Service
					port := s.backend("Ingress "+o.Name, backend.Name, backend.Port.Name, backend.Port.Number)
					byIngress = append(byIngress, fmt.Sprintf("%s%s to %s:%d", rule.Host, path.Path, backend.Name, port))
				}
			}
		case *gatewayv1.HTTPRoute:
			for _, parent := range o.Spec.ParentRefs {
				if !s.names["Gateway "+string(parent.Name)] {
					s.complain("HTTPRoute %s: there is no Gateway %s", o.Name, parent.Name)
				}
			}
			for _, rule := range o.Spec.Rules {
				for _, ref := range rule.BackendRefs {
					var number int32
					if ref.Port != nil {
						number = int32(*ref.Port)
					}
					port := s.backend("HTTPRoute "+o.Name, string(ref.Name), "", number)
					for _, match := range rule.Matches {
						for _, host := range o.Spec.Hostnames {
							byGateway = append(byGateway, fmt.Sprintf("%s%s to %s:%d", host, *match.Path.Value, ref.Name, port))
						}
					}
				}
			}
		}
	}
	slices.Sort(byIngress)
	slices.Sort(byGateway)
	if len(byGateway) > 0 && !slices.Equal(byIngress, byGateway) {
		s.complain("Ingress and HTTPRoute differ: %v, %v", byIngress, byGateway)
	}
}

// backend gives the number of the Service's port.
func (s *set) backend(title, name, portName string, number int32) int32 {
	if service := s.services[name]; service != nil {
		for _, port := range service.Spec.Ports {
			if (portName != "" && port.Name == portName) || (portName == "" && port.Port == number) {
				return port.Port
			}
		}
	}
	if portName == "" {
		portName = fmt.Sprint(number)
	}
	s.complain("%s: there is no Service %s with port %s", title, name, portName)
	return 0
}

// makesSecret tells if a comment in the stage's manifests has the command that
// makes the Secret with that key. (`lab deploy` makes every Secret.)
func (s stage) makesSecret(name, key string) bool {
	command := regexp.MustCompile(`# +kubectl create secret generic ` + regexp.QuoteMeta(name) + ` .*--from-literal=` + regexp.QuoteMeta(key))
	found := false
	_ = filepath.WalkDir(filepath.Join(s.dir, "k8s"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			text, err := os.ReadFile(path)
			found = found || (err == nil && command.Match(text))
		}
		return err
	})
	return found
}

// reads tells if the service of that image reads the environment variable.
func (s stage) reads(image, name string) bool {
	if name == "GOMEMLIMIT" { // Go itself does
		return true
	}
	service, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	files, _ := filepath.Glob(filepath.Join(s.dir, service, "*.go"))
	main, _ := filepath.Glob(filepath.Join(s.dir, "cmd", service, "*.go"))
	shared, _ := filepath.Glob(filepath.Join(s.dir, "internal", "*", "*.go"))
	return slices.ContainsFunc(slices.Concat(files, main, shared), func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && !strings.HasSuffix(path, "_test.go") && strings.Contains(string(text), `"`+name+`"`)
	})
}
