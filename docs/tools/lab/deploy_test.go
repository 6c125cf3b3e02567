package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
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
	got := ownImages(repo.Stage{Name: "06-rabbitmq"}, `
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

// A docker that only notes what it is asked for.
func TestVersionedImagesAreBuiltPushedAndUsed(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{root: root, stages: stages, out: io.Discard, err: io.Discard}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte("#!/bin/sh\necho \"$@\" >>"+dir+"/calls\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	final := l.stages[len(l.stages)-1]
	plan, err := deployOptions{registry: "ghcr.io/me/microcomm/", version: "1.2.3"}.imagePlan(cluster{context: "other"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := buildImages(t.Context(), l, final, "image: microcomm/final/platformservice:1\nimage: rabbitmq:4-management\n", plan)
	if want := "image: ghcr.io/me/microcomm/platformservice:1.2.3\nimage: rabbitmq:4-management\n"; err != nil || got != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	want := "build --tag ghcr.io/me/microcomm/platformservice:1.2.3 --target platformservice --build-arg VERSION=1.2.3 .\npush ghcr.io/me/microcomm/platformservice:1.2.3\n"
	if err != nil || string(calls) != want {
		t.Errorf("got docker %q, %v; want %q", calls, err, want)
	}
}

func TestRegistryAndVersionBelongTogether(t *testing.T) {
	for _, o := range []deployOptions{{registry: "ghcr.io/me"}, {version: "1.2.3"}} {
		if _, err := o.imagePlan(cluster{context: "minikube"}); err == nil {
			t.Errorf("%+v: got no error", o)
		}
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

func TestLeftOver(t *testing.T) {
	objects, err := decodeObjects(`{"kind":"StatefulSet","metadata":{"name":"rabbitmq"}} {"kind":"Service","metadata":{"name":"rabbitmq-clusterip-srv"}}`)
	if err != nil {
		t.Fatal(err)
	}
	got := leftOver([]string{"deployment/rabbitmq-depl", "statefulset/rabbitmq", "service/rabbitmq-clusterip-srv",
		"service/rabbitmq-loadbalancer", "persistentvolumeclaim/mssql-claim"}, objects)
	if want := []string{"deployment/rabbitmq-depl", "service/rabbitmq-loadbalancer"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: not what stays, and no volume", got, want)
	}
}

func TestStatefulSetDoesNotShrink(t *testing.T) {
	for name, tt := range map[string]struct {
		replicas string
		there    []string
		fails    bool
	}{
		"first time":     {`{"replicas":1}`, nil, false},
		"same":           {`{"replicas":3}`, []string{"persistentvolumeclaim/data-rabbitmq-2"}, false},
		"grows":          {`{"replicas":3}`, []string{"persistentvolumeclaim/data-rabbitmq-0"}, false},
		"shrinks":        {`{"replicas":1}`, []string{"persistentvolumeclaim/data-rabbitmq-0", "persistentvolumeclaim/data-rabbitmq-1"}, true},
		"default":        {`{}`, []string{"persistentvolumeclaim/data-rabbitmq-1"}, true},
		"another volume": {`{"replicas":1}`, []string{"persistentvolumeclaim/mssql-claim", "persistentvolumeclaim/data-rabbitmq-old-1"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := decodeObjects(`{"kind":"StatefulSet","metadata":{"name":"rabbitmq"},"spec":` + tt.replicas + `}`)
			if err != nil {
				t.Fatal(err)
			}
			if err := shrunk(tt.there, objects); (err != nil) != tt.fails {
				t.Errorf("got %v, want an error: %v", err, tt.fails)
			}
		})
	}
}

func TestDeployOverAnotherStage(t *testing.T) {
	useKubectl(t, `echo microcomm/07-grpc/platformservice:1`)
	for name, tt := range map[string]struct {
		stage string
		old   []string
		keep  bool
		says  string
		err   string
	}{
		"the same again":  {stage: "07-grpc", keep: true},
		"another stage":   {stage: "final", says: "07-grpc is deployed to"},
		"with leftovers":  {stage: "final", old: []string{"service/x"}, says: "are deleted:\n  service/x\n"},
		"kept":            {stage: "final", keep: true, err: "go tool lab undeploy 07-grpc"},
		"another variant": {stage: "07-grpc", old: []string{"service/x"}, says: "are deleted:\n  service/x\n"},
		"variant to keep": {stage: "07-grpc", old: []string{"service/x"}, keep: true, err: "go tool lab undeploy 07-grpc"},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o := deployOptions{stage: repo.Stage{Name: tt.stage}, keep: tt.keep, yes: true}
			err := confirmReplace(t.Context(), &lab{err: &out}, cluster{context: "test"}, o, tt.old)
			if (err == nil) != (tt.err == "") || (err != nil && !strings.Contains(err.Error(), tt.err)) || !strings.Contains(out.String(), tt.says) {
				t.Errorf("got %v, %q; want %q, %q", err, out.String(), tt.err, tt.says)
			}
		})
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

func TestScalingNeedsMetrics(t *testing.T) {
	scaled := []object{{Kind: "HorizontalPodAutoscaler"}}
	for name, tt := range map[string]struct {
		script  string
		objects []object
		want    string
	}{
		"measured":       {"exit 0", scaled, ""},
		"not measured":   {"exit 1", scaled, "no metrics-server"},
		"nothing scales": {"exit 1", []object{{Kind: "Deployment"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			useKubectl(t, tt.script)
			var out bytes.Buffer
			printScaling(t.Context(), &lab{out: &out}, cluster{context: "test"}, tt.objects)
			if (out.Len() > 0) != (tt.want != "") || !strings.Contains(out.String(), tt.want) {
				t.Errorf("got %q, want %q", out.String(), tt.want)
			}
		})
	}
}
