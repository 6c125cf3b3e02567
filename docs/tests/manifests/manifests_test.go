package manifests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// variant gives the objects that are applied from dir as one stream, and the
// routes for the Gateway API, which are for the same Services.
func (s stage) variant(t *testing.T, dir string) []byte {
	t.Helper()
	built, err := build(dir)
	if err != nil {
		t.Fatalf("kustomize %s: %v", dir, err)
	}
	route, err := os.ReadFile(filepath.Join(s.dir, "k8s", "gateway", "httproute.yml"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return append(append(built, "\n---\n"...), route...)
}

func TestManifests(t *testing.T) {
	for _, s := range stages(t) {
		t.Run(s.name, func(t *testing.T) {
			for path, text := range s.files(t) {
				if _, err := decode(text); err != nil && !isPatch(text) {
					t.Errorf("%s: %v", path, err)
				}
				if _, err := yaml.YAMLToJSONStrict(text); err != nil && isPatch(text) { // kustomize picks one of two keys
					t.Errorf("%s: %v", path, err)
				}
			}
			for _, dir := range s.variants(t) {
				objects, err := decode(s.variant(t, dir))
				if err != nil {
					t.Errorf("kustomize %s: %v", dir, err)
				}
				for _, problem := range check(s, objects) {
					t.Errorf("kustomize %s: %s", dir, problem)
				}
			}
		})
	}
}

// isPatch: a patch is a part of an object. It is tested by what it leads to.
func isPatch(text []byte) bool { return strings.HasPrefix(string(text), "# A patch") }

// A file that no kustomization names would be applied by hand and by nobody else.
func TestKustomizationNamesEveryFile(t *testing.T) {
	for _, s := range stages(t) {
		index, err := os.ReadFile(filepath.Join(s.dir, "k8s", "Kustomization"))
		if os.IsNotExist(err) {
			continue // final has a base and overlays
		}
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(s.dir, "k8s", "*.yml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no manifests (%v)", s.name, err)
		}
		for _, file := range files {
			if !strings.Contains(string(index), "  - "+filepath.Base(file)+"\n") {
				t.Errorf("%s/k8s/Kustomization does not name %s", s.name, filepath.Base(file))
			}
		}
	}
}

// The names are those of the course that this descends from: its readers know them.
func TestNames(t *testing.T) {
	type file struct{ path, objects string }
	since := map[string][]file{
		"03-k8s": {
			{"platforms-depl.yml", "Deployment platforms-depl, Service platforms-clusterip-srv"},
			{"platforms-np-srv.yml", "Service platformnpservice-srv"},
			{"commands-depl.yml", "Deployment commands-depl, Service commands-clusterip-srv"},
		},
		"04-ingress": {{"ingress-srv.yml", "Ingress ingress-srv"}},
		"05-sqlserver": {
			{"local-pvc.yml", "PersistentVolumeClaim mssql-claim"},
			{"mssql-plat-depl.yml", "Deployment mssql-depl, Service mssql-clusterip-srv, Service mssql-loadbalancer"},
		},
		"06-rabbitmq": {{"rabbitmq-depl.yml", "Deployment rabbitmq-depl, Service rabbitmq-clusterip-srv, Service rabbitmq-loadbalancer"}},
	}
	for _, s := range stages(t) {
		if s.name == "final" {
			continue
		}
		for chapter, files := range since {
			if chapter > s.name {
				continue
			}
			for _, f := range files {
				text, err := os.ReadFile(filepath.Join(s.dir, "k8s", f.path))
				if err != nil {
					t.Error(err)
					continue
				}
				for name := range strings.SplitSeq(f.objects, ", ") {
					kind, name, _ := strings.Cut(name, " ")
					if !strings.Contains(string(text), "\nkind: "+kind+"\nmetadata:\n  name: "+name+"\n") {
						t.Errorf("%s/k8s/%s has no %s %s", s.name, f.path, kind, name)
					}
				}
			}
		}
	}
}

// Each rule sees its mistake: a copy of a stage that is right, broken in one place.
func TestMistakesAreCaught(t *testing.T) {
	const chapter, production = "07-grpc", "final"
	right := map[string]string{}
	from := map[string]stage{}
	for _, s := range stages(t) {
		switch s.name {
		case chapter:
			right[s.name] = string(s.variant(t, filepath.Join(s.dir, "k8s")))
		case production:
			right[s.name] = string(s.variant(t, filepath.Join(s.dir, "k8s", "overlays", "production")))
		}
		from[s.name] = s
	}
	for name, tt := range map[string]struct {
		in       string
		old, new string
		want     string
	}{
		"Go's memory limit":     {production, "value: 115MiB", "value: 128MiB", "GOMEMLIMIT=128MiB is not 85 to 95% of the limit 128Mi"},
		"no limit for Go":       {production, "GOMEMLIMIT", "GOMEMLIMIT_", "GOMEMLIMIT is not set"},
		"less memory":           {production, "memory: 128Mi", "memory: 256Mi", "GOMEMLIMIT=115MiB is not 85 to 95% of the limit 256Mi"},
		"unknown field":         {chapter, "terminationGracePeriodSeconds:", "terminationGracePeriod:", `unknown field "spec.template.spec.terminationGracePeriod"`},
		"field of another case": {chapter, "imagePullPolicy:", "imagePullpolicy:", "unknown field"},
		"field twice":           {chapter, "restartPolicy: Never", "restartPolicy: Never\n      restartPolicy: OnFailure", "already set"},
		"wrong type":            {chapter, "replicas: 1", `replicas: "1"`, "cannot unmarshal"},
		"old API version":       {chapter, "apiVersion: networking.k8s.io/v1\n", "apiVersion: networking.k8s.io/v1beta1\n", "no such kind belongs here"},
		"a Secret":              {chapter, "kind: ConfigMap", "kind: Secret", "v1 Secret: no such kind belongs here"},
		"name twice":            {chapter, "name: mssql-loadbalancer", "name: mssql-clusterip-srv", "Service mssql-clusterip-srv is there twice"},
		"no label":              {chapter, "app.kubernetes.io/part-of: microcomm", "app.kubernetes.io/part-of: other", "lacks the labels"},
		"deployment's selector": {chapter, "matchLabels:\n      app: mssql", "matchLabels:\n      app: mysql", "Deployment mssql-depl: its selector does not match"},
		"service's selector":    {chapter, "selector:\n    app: platformservice", "selector:\n    app: platformsservice", "Service platforms-clusterip-srv: its selector matches no pods"},
		"target port":           {chapter, "targetPort: grpc", "targetPort: rpc", "Service platforms-clusterip-srv: rpc is not the name of a container port"},
		"target port by number": {chapter, "targetPort: grpc", "targetPort: 7777", "7777 is not the name of a container port"},
		"ingress backend":       {chapter, "service:\n            name: commands-clusterip-srv", "service:\n            name: commands-srv", "Ingress ingress-srv: there is no Service commands-srv"},
		"ingress port":          {chapter, "port:\n              name: platformservice", "port:\n              name: http", "Ingress ingress-srv: there is no Service platforms-clusterip-srv with port http\n"},
		"route's backend":       {chapter, "- name: commands-clusterip-srv\n          port: 80", "- name: commands-srv\n          port: 80", "HTTPRoute microcomm: there is no Service commands-srv"},
		"route's path":          {chapter, "value: /api/c/platforms", "value: /api/commands", "Ingress and HTTPRoute differ"},
		"route's gateway":       {chapter, "parentRefs:\n    - name: microcomm", "parentRefs:\n    - name: nginx", "there is no Gateway nginx"},
		"secret":                {chapter, "name: platforms-db", "name: platform-db", "nothing makes the Secret platform-db"},
		"secret's key":          {chapter, "key: SA_PASSWORD", "key: PASS", "nothing makes the Secret mssql with key PASS"},
		"password in the open":  {chapter, "name: RABBITMQ_DEFAULT_PASS\n          valueFrom:\n            secretKeyRef:\n              key: PASSWORD\n              name: rabbitmq", "name: RABBITMQ_DEFAULT_PASS\n          value: guest", "RABBITMQ_DEFAULT_PASS does not come from a Secret"},
		"config map":            {chapter, "configMap:\n          name: mssql-login", "configMap:\n          name: mssql", "there is no ConfigMap mssql"},
		"volume claim":          {chapter, "claimName: mssql-claim", "claimName: mssql-data", "there is no PersistentVolumeClaim mssql-data"},
		"volume mount":          {chapter, "- mountPath: /var/opt/mssql\n          name: data", "- mountPath: /var/opt/mssql\n          name: disk", "there is no volume disk"},
		"access mode":           {chapter, "- ReadWriteOnce", "- ReadWriteMany", "kind and k3s have ReadWriteOnce only"},
		"DNS name":              {chapter, "value: platforms-clusterip-srv:777", "value: platform-clusterip-srv:777", "there is no Service platform-clusterip-srv"},
		"DNS name in a URL":     {chapter, "@rabbitmq-clusterip-srv:5672", "@rabbitmq:5672", "there is no Service rabbitmq"},
		"port of a Service":     {chapter, "value: platforms-clusterip-srv:777", "value: platforms-clusterip-srv:7777", "has no port 7777"},
		"undefined variable":    {chapter, "platformservice:$(DB_PASSWORD)", "platformservice:$(DATABASE_PASSWORD)", "$(DATABASE_PASSWORD), which is not defined"},
		"setting not read":      {chapter, "name: PLATFORMS_GRPC_ADDR", "name: PLATFORM_GRPC_ADDR", "does not read PLATFORM_GRPC_ADDR"},
		"latest":                {chapter, "image: rabbitmq:4-management", "image: rabbitmq:latest", "does not say which version"},
		"no tag":                {chapter, "image: rabbitmq:4-management", "image: rabbitmq", "does not say which version"},
		"other stage's image":   {chapter, "image: microcomm/07-grpc/commandsservice:1", "image: microcomm/06-rabbitmq/commandsservice:1", "is another stage's"},
		"privileged":            {chapter, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: false\n          privileged: true", "is privileged"},
		"escalation":            {chapter, "allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "privileges may escalate"},
		"capabilities":          {chapter, "drop:\n            - ALL", "drop:\n            - CHOWN", "capabilities are not dropped"},
		"writable":              {chapter, "readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "its root file system can be written to"},
		"root":                  {chapter, "runAsNonRoot: true", "runAsNonRoot: false", "may run as root"},
		"seccomp":               {chapter, "type: RuntimeDefault", "type: Unconfined", "no seccomp profile"},
		"token":                 {chapter, "automountServiceAccountToken: false", "automountServiceAccountToken: true", "get a token"},
		"host network":          {chapter, "automountServiceAccountToken: false", "automountServiceAccountToken: false\n      hostNetwork: true", "use the node's own network"},
		"host path":             {chapter, "persistentVolumeClaim:\n          claimName: mssql-claim", "hostPath:\n          path: /srv", "is a folder of the node"},
		"no limits":             {chapter, "limits:\n            cpu: \"1\"\n            memory: 128Mi", "limits: {}", "no limits of cpu and memory"},
		"no memory request":     {chapter, "cpu: 50m\n            memory: 32Mi", "cpu: 50m", "no requests of cpu and memory"},
		"no room on the node":   {production, "ephemeral-storage: 256Mi", "storage: 256Mi", "no limits of ephemeral-storage"},
		"no startup probe":      {chapter, "startupProbe:\n          failureThreshold: 60\n          httpGet:\n            path: /livez\n            port: http\n          periodSeconds: 1", "tty: false", "no startup probe"},
		"probe's port":          {chapter, "path: /readyz\n            port: http", "path: /readyz\n            port: web", "readiness probe: web is not the name of a container port"},
		"probe's other port":    {production, "path: /readyz\n            port: admin", "path: /readyz\n            port: http", "readiness probe: port admin serves the probes, not http"},
		"admin port, not set":   {production, "name: PLATFORMS_ADMIN_ADDR", "name: LOG_LEVEL", "has a port admin, and no PLATFORMS_ADMIN_ADDR or COMMANDS_ADMIN_ADDR"},
		"probes that are one":   {chapter, "path: /readyz", "path: /livez", "readiness and liveness ask the same"},
		"SQL Server's probes":   {production, "exec:\n            command:\n            - /bin/bash", "tcpSocket:\n            port: mssql\n          x:\n            command:\n            - /bin/bash", "readiness and liveness ask the same"},
		"stop without drain":    {chapter, "lifecycle:\n          preStop:\n            sleep:\n              seconds: 5", "tty: false", "no preStop sleep"},
		"stop without grace":    {chapter, "terminationGracePeriodSeconds: 40", "terminationGracePeriodSeconds: 27", "leaves no time"},
		"job without an end":    {chapter, "activeDeadlineSeconds: 900", "parallelism: 1", "it may wait for ever"},
		"job without a log":     {chapter, "restartPolicy: Never", "restartPolicy: OnFailure", "its log goes"},
		"disruption budget":     {production, "minAvailable: 1\n  selector:\n    matchLabels:\n      app: platformservice", "minAvailable: 1\n  selector:\n    matchLabels:\n      app: platforms", "PodDisruptionBudget platforms: its selector matches no pods"},
		"autoscaler":            {production, "kind: Deployment\n    name: platforms-depl", "kind: Deployment\n    name: platforms", "there is no Deployment platforms"},
		"autoscaling at idle":   {production, "averageUtilization: 70", "averageUtilization: 20", "it scales at"},
		"autoscaling at limit":  {production, "averageUtilization: 70", "averageUtilization: 400", "it scales at"},
		"DNS in one namespace":  {production, "- ports:\n    - port: 53", "- to:\n    - namespaceSelector: {}\n    ports:\n    - port: 53", "want those of DNS"},
		"open to everywhere":    {production, "port: 5353\n", "port: 443\n", "want those of DNS"},
		"policy for nobody":     {production, "\n  podSelector:\n    matchLabels:\n      app: mssql-login", "\n  podSelector:\n    matchLabels:\n      app: login", "NetworkPolicy mssql-login: its selector matches no pods"},
		"policy allows nobody":  {production, "- podSelector:\n        matchLabels:\n          app: mssql-login", "- podSelector:\n        matchLabels:\n          app: login", "NetworkPolicy mssql: it allows pods that do not exist"},
		"policy's port":         {production, "- port: nodes", "- port: node", "NetworkPolicy rabbitmq: node is not the name of a container port"},
		"way in":                {production, "- podSelector:\n        matchLabels:\n          app: commandservice\n    - podSelector:\n        matchLabels:\n          app: mssql-login", "- podSelector:\n        matchLabels:\n          app: mssql-login", "no NetworkPolicy lets this in: Deployment commands-depl to Deployment mssql-depl, port mssql"},
		"way out":               {production, "podSelector:\n    matchLabels:\n      app.kubernetes.io/component: api\n  policyTypes:\n  - Egress\n---", "podSelector:\n    matchLabels:\n      app: commandservice\n  policyTypes:\n  - Egress\n---", "no NetworkPolicy lets this out: Deployment platforms-depl to Deployment mssql-depl, port mssql"},
		"way out for traces":    {production, "port: 4318", "port: 4316", "no NetworkPolicy lets this out: Deployment commands-depl to namespaces monitoring, port 4318"},
		"way in from a Gateway": {production, "gateway-name: microcomm", "gateway-name: micro", "lets this in: Gateway microcomm to Deployment"},
		"way in for Prometheus": {production, "kubernetes.io/metadata.name: monitoring\n    ports:\n    - port: admin", "kubernetes.io/metadata.name: monitor\n    ports:\n    - port: admin", "lets this in: namespaces monitoring to Deployment"},
		"admin port for all":    {production, "gateway-name: microcomm\n    ports:\n    - port: http", "gateway-name: microcomm\n    ports:\n    - port: admin", "allows what nobody needs: Gateway microcomm to Deployment"},
		"way for nobody":        {production, "value: platforms-clusterip-srv:777", "value: localhost:777", "allows what nobody needs: Deployment commands-depl to Deployment platforms-depl, port grpc"},
		"a call":                {production, "name: PLATFORMS_GRPC_ADDR", "name: COMMANDS_SERVICE_URL", "a POST waits for CommandsService"},
		"peers of a cluster":    {production, "- port: nodes", "- port: rbmq-msg-port", "lets this out: StatefulSet rabbitmq to StatefulSet rabbitmq, port nodes"},
		"SA":                    {production, "sqlserver://commandsservice:", "sqlserver://sa:", "nothing creates the login sa"},
		"no database":           {production, "CREATE DATABASE commandsdb", "CREATE DATABASE commanddb", "nothing creates the database commandsdb"},
		"shared database":       {production, "database=commandsdb", "database=platformsdb", "share the database platformsdb"},
		"role":                  {production, "ALTER ROLE db_ddladmin ADD MEMBER commandsservice", "ALTER ROLE db_owner ADD MEMBER commandsservice", "its login commandsservice has the roles [db_datareader db_datawriter db_owner]"},
		"spread of others":      {production, "labelSelector:\n          matchLabels:\n            app: platformservice", "labelSelector:\n          matchLabels:\n            app: commandservice", "it spreads other pods than its own"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := strings.Replace(right[tt.in], tt.old, tt.new, 1)
			if broken == right[tt.in] {
				t.Fatalf("%s has no %q to break", tt.in, tt.old)
			}
			objects, err := decode([]byte(broken))
			problems := check(from[tt.in], objects)
			if err != nil {
				problems = append(problems, err.Error())
			}
			got := strings.Join(problems, "\n")
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want a problem with %q", got, tt.want)
			}
		})
	}
}

// Production runs what was chosen, not what a tag means on the day that a node
// pulls it, and a node that is lost takes one broker with it. The drill, on one
// node, has the same but for these two.
func TestProductionPinsAndSpreads(t *testing.T) {
	pinned := regexp.MustCompile(`^(rabbitmq:\d+\.\d+\.\d+-management|mcr\.microsoft\.com/mssql/server:\d{4}-CU\d+-ubuntu-[\d.]+|microcomm/final/\w+:1)$`)
	for _, s := range stages(t) {
		if s.name != "final" {
			continue
		}
		for overlay, strict := range map[string]bool{"production": true, "drill": false} {
			objects, err := decode(s.variant(t, filepath.Join(s.dir, "k8s", "overlays", overlay)))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				var pod corev1.PodSpec
				switch o := o.(type) {
				case *appsv1.Deployment:
					pod = o.Spec.Template.Spec
				case *batchv1.Job:
					pod = o.Spec.Template.Spec
				case *appsv1.StatefulSet:
					pod = o.Spec.Template.Spec
					apart := slices.ContainsFunc(pod.TopologySpreadConstraints, func(c corev1.TopologySpreadConstraint) bool {
						return c.WhenUnsatisfiable == corev1.DoNotSchedule && c.MinDomains != nil && *c.MinDomains == *o.Spec.Replicas
					})
					if apart != strict || (!strict && len(pod.TopologySpreadConstraints) > 0) {
						t.Errorf("%s: %s has to be on as many nodes as it has pods: %v, want %v", overlay, o.Name, apart, strict)
					}
				}
				for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
					if strict && !pinned.MatchString(c.Image) {
						t.Errorf("%s: %s floats", overlay, c.Image)
					}
				}
			}
		}
	}
}

// A kustomization that does not build is an error, not an empty result.
func TestBrokenKustomization(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources:\n  - missing.yml\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := build(dir); err == nil || !strings.Contains(err.Error(), "missing.yml") {
		t.Errorf("got error %v, want one that names missing.yml", err)
	}
}
