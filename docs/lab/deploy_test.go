package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestLoader(t *testing.T) {
	for _, tt := range []struct {
		context, flag string
		want          string // nothing: no command is needed
		err           string
	}{
		{context: "kind-lab", want: "kind load docker-image --name lab {image}"},
		{context: "k3d-lab", want: "k3d image import --cluster lab {image}"},
		{context: "minikube", want: "minikube image load {image}"},
		{context: "docker-desktop"},
		{context: "kind-lab", flag: "push {image} --quiet", want: "push {image} --quiet"},
		{context: "other", flag: "push", want: "push {image}"},
		{context: "other", err: "--load 'COMMAND {image}'"},
	} {
		got, err := cluster{context: tt.context}.loader(tt.flag)
		if strings.Join(got, " ") != tt.want || (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("loader of %q with %q: got %q, %v; want %q, %q", tt.context, tt.flag, got, err, tt.want, tt.err)
		}
	}
}

func TestOwnImages(t *testing.T) {
	got := ownImages(stage{name: "06-rabbitmq"}, `
      - image: microcomm/06-rabbitmq/platformservice:1
        image: rabbitmq:4-management
        image: microcomm/06-rabbitmq/commandsservice:1
        image: microcomm/06-rabbitmq/commandsservice:1
`)
	want := []string{"microcomm/06-rabbitmq/platformservice:1", "microcomm/06-rabbitmq/commandsservice:1"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// What `kubectl create --dry-run=client -o json` prints: objects after each
// other, or a list of them.
const createdObjects = `
{"kind": "Deployment", "metadata": {"name": "platforms-depl"}, "spec": {"template": {"spec": {"containers": [{"env": [
  {"name": "A", "valueFrom": {"secretKeyRef": {"name": "rabbitmq", "key": "PASSWORD"}}},
  {"name": "B", "valueFrom": {"secretKeyRef": {"name": "platforms-db", "key": "PASSWORD"}}}]}]}}}}
{"kind": "List", "items": [
  {"kind": "Job", "metadata": {"name": "login"}, "spec": {"template": {"spec": {"initContainers": [{"env": [
    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "rabbitmq", "key": "COOKIE"}}},
    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "rabbitmq", "key": "PASSWORD"}}}]}]}}}},
  {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"secretKeyRef": "is no reference here"}}]}
`

func TestSecretKeysAndWorkloads(t *testing.T) {
	objects, err := decodeObjects(createdObjects)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := secretKeys(objects)
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || !slices.Equal(keys["rabbitmq"], []string{"PASSWORD", "COOKIE"}) || !slices.Equal(keys["platforms-db"], []string{"PASSWORD"}) {
		t.Errorf("got secrets %v, want rabbitmq with PASSWORD and COOKIE, platforms-db with PASSWORD", keys)
	}
	if got := workloadsOf(objects); !slices.Equal(got, []string{"deployment/platforms-depl", "job/login"}) {
		t.Errorf("got workloads %q, want the Deployment and the Job", got)
	}
}

func TestNewPassword(t *testing.T) {
	one, two := newPassword(), newPassword()
	if one == two {
		t.Errorf("got %q twice", one)
	}
	for _, kind := range []string{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789", "-"} {
		if !strings.ContainsAny(one, kind) {
			t.Errorf("got %q, want one of %s in it: SQL Server asks for that", one, kind)
		}
	}
	if strings.ContainsAny(one, ":/?#[]@!$&'()*+,;=%") {
		t.Errorf("got %q, which means something in a URL", one)
	}
}

func TestWorkloadProgress(t *testing.T) {
	for name, tt := range map[string]struct {
		json, text string
		done       bool
	}{
		"ready":        {`{"kind":"Deployment","spec":{"replicas":2},"status":{"replicas":2,"updatedReplicas":2,"availableReplicas":2}}`, "2 of 2 ready", true},
		"one missing":  {`{"kind":"Deployment","spec":{"replicas":2},"status":{"replicas":2,"updatedReplicas":2,"availableReplicas":1}}`, "1 of 2 ready", false},
		"old pods":     {`{"kind":"Deployment","spec":{"replicas":1},"status":{"replicas":1,"updatedReplicas":0,"availableReplicas":1}}`, "0 of 1 ready", false},
		"old pod left": {`{"kind":"Deployment","spec":{"replicas":1},"status":{"replicas":2,"updatedReplicas":1,"availableReplicas":2}}`, "1 of 1 ready", false},
		"not seen yet": {`{"kind":"Deployment","metadata":{"generation":2},"spec":{"replicas":1},"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}}`, "0 of 1 ready", false},
		"job runs":     {`{"kind":"Job","status":{}}`, "runs", false},
		"job done":     {`{"kind":"Job","status":{"succeeded":1}}`, "done", true},
	} {
		t.Run(name, func(t *testing.T) {
			var w workload
			if err := json.Unmarshal([]byte(tt.json), &w); err != nil {
				t.Fatal(err)
			}
			if text, done := w.progress(); text != tt.text || done != tt.done {
				t.Errorf("got %q, %v; want %q, %v", text, done, tt.text, tt.done)
			}
		})
	}
}

func TestDiagnose(t *testing.T) {
	for name, tt := range map[string]struct {
		json  string // the pod's status
		want  string // a part of the line; nothing: no problem
		fatal bool
	}{
		"pulling": {`{"containerStatuses":[{"name":"a","state":{"waiting":{"reason":"ContainerCreating"}}}]}`, "", false},
		"ready":   {`{"containerStatuses":[{"name":"a","ready":true,"state":{"running":{}}}]}`, "", false},
		"image": {`{"containerStatuses":[{"name":"a","image":"rabitmq:4","state":{"waiting":{"reason":"ImagePullBackOff"}}}]}`,
			"the cluster cannot get the image rabitmq:4: is the name right", true},
		"secret": {`{"containerStatuses":[{"name":"a","state":{"waiting":{"reason":"CreateContainerConfigError","message":"secret \"mssql\" not found"}}}]}`,
			`(secret "mssql" not found): go tool lab deploy creates`, true},
		"crash": {`{"containerStatuses":[{"name":"a","restartCount":4,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":3}}}]}`,
			"a ends with exit status 3", true},
		"first crash": {`{"containerStatuses":[{"name":"a","restartCount":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":3}}}]}`,
			"a ends with exit status 3", false},
		"memory": {`{"containerStatuses":[{"name":"a","restartCount":4,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]}`,
			"needs more memory than its limit", true},
		"waits": {`{"containerStatuses":[{"name":"a","state":{"running":{}}}]}`, "its readiness probe fails", false},
		"full node": {`{"conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available: 1 Insufficient memory."}]}`,
			"leave SQL Server out with --sqlite", true},
		"ARM": {`{"conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."}]}`,
			"amd64 only", true},
		"no storage class": {`{"conditions":[{"type":"PodScheduled","status":"False","message":"pod has unbound immediate PersistentVolumeClaims"}]}`,
			"kubectl get storageclass", true},
	} {
		t.Run(name, func(t *testing.T) {
			var p pod
			if err := json.Unmarshal([]byte(tt.json), &p.Status); err != nil {
				t.Fatal(err)
			}
			got, ok := diagnose(p)
			if ok != (tt.want != "") || got.fatal != tt.fatal || !strings.Contains(got.text, tt.want) || strings.Contains(got.text, "\n") {
				t.Errorf("got %+v, %v; want one line with %q, fatal: %v", got, ok, tt.want, tt.fatal)
			}
		})
	}
}
