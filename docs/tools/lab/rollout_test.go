package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWorkloadProgress(t *testing.T) {
	for name, tt := range map[string]struct {
		json, text string
		done       bool
	}{
		"ready":        {`{"kind":"Deployment","spec":{"replicas":2},"status":{"replicas":2,"updatedReplicas":2,"availableReplicas":2}}`, "2 of 2 ready", true},
		"one missing":  {`{"kind":"Deployment","spec":{"replicas":2},"status":{"replicas":2,"updatedReplicas":2,"availableReplicas":1}}`, "1 of 2 ready", false},
		"old pods":     {`{"kind":"Deployment","spec":{"replicas":1},"status":{"replicas":1,"updatedReplicas":0,"availableReplicas":1}}`, "0 of 1 ready", false},
		"old pod left": {`{"kind":"Deployment","spec":{"replicas":1},"status":{"replicas":2,"updatedReplicas":1,"availableReplicas":2}}`, "1 of 1 ready", false},
		"not replaced": {`{"kind":"Deployment","spec":{"replicas":1},"status":{"replicas":2,"updatedReplicas":1,"availableReplicas":1}}`, "0 of 1 ready", false},
		"not seen yet": {`{"kind":"Deployment","metadata":{"generation":2},"spec":{"replicas":1},"status":{"observedGeneration":1,"replicas":1,"updatedReplicas":1,"availableReplicas":1}}`, "0 of 1 ready", false},
		"job runs":     {`{"kind":"Job","status":{}}`, "runs", false},
		"job done":     {`{"kind":"Job","status":{"succeeded":1}}`, "done", true},
		"job failed":   {`{"kind":"Job","status":{"conditions":[{"type":"Failed","status":"True","message":"too often"}]}}`, "failed: too often", false},
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
			"leave SQL Server out with --sqlite", false},
		"ARM": {`{"conditions":[{"type":"PodScheduled","status":"False","message":"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."}]}`,
			"amd64 only", false},
		"no storage class": {`{"conditions":[{"type":"PodScheduled","status":"False","message":"pod has unbound immediate PersistentVolumeClaims"}]}`,
			"kubectl get storageclass", false},
		"job's pod failed": {`{"phase":"Failed","containerStatuses":[{"name":"a","state":{"terminated":{"exitCode":3}}}]}`,
			"a has ended with exit status 3", false},
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

// useKubectl puts a kubectl on the path that is a shell script, which sees its
// arguments as "$*" and the number of calls so far as $n.
func useKubectl(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\necho >>" + dir + "/calls\nn=$(($(wc -l <" + dir + "/calls)))\n" + script
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// watched runs the rollout of Deployment a and Job b with such a kubectl.
func watched(t *testing.T, script string, patience, timeout time.Duration) (string, error) {
	t.Helper()
	useKubectl(t, script)
	var out bytes.Buffer
	r := rollout{lab: &lab{out: &out, err: &out}, cluster: cluster{context: "test"}, interval: time.Millisecond, patience: patience}
	err := r.wait(t.Context(), []string{"deployment/a", "job/b"}, timeout)
	return out.String(), err
}

const (
	readyWorkloads = `{"kind":"List","items":[
{"kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1},"status":{"replicas":1,"updatedReplicas":1,"availableReplicas":1}},
{"kind":"Job","metadata":{"name":"b"},"status":{"succeeded":1}}]}`
	waitingWorkloads = `{"kind":"List","items":[{"kind":"Deployment","metadata":{"name":"a"},"spec":{"replicas":1},"status":{"replicas":1}}]}`
	failedWorkloads  = `{"kind":"List","items":[{"kind":"Job","metadata":{"name":"b"},"status":{"conditions":[{"type":"Failed","status":"True","message":"too often"}]}}]}`
	fullNode         = `{"kind":"List","items":[{"metadata":{"name":"a-1"},"status":{"conditions":[
{"type":"PodScheduled","status":"False","message":"0/1 nodes are available: 1 Insufficient memory."}]}}]}`
	failedPod = `{"kind":"List","items":[{"metadata":{"name":"b-1"},"status":{"phase":"Failed","containerStatuses":[
{"name":"c","state":{"terminated":{"exitCode":1}}}]}}]}`
)

func TestRolloutRetriesAFailedCall(t *testing.T) {
	out, err := watched(t, `[ $n != 1 ] || { echo "connection refused" >&2; exit 1; }
echo '`+readyWorkloads+`'`, time.Minute, time.Minute)
	if err != nil || !strings.Contains(out, "connection refused") || !strings.Contains(out, "a: 1 of 1 ready") {
		t.Errorf("got %v, %q; want success after a line about the failure", err, out)
	}
}

func TestRolloutEndsWhenEveryCallFails(t *testing.T) {
	out, err := watched(t, `echo "connection refused" >&2; exit 1`, 10*time.Millisecond, time.Minute)
	if err == nil || errors.Is(err, errReported) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v, %q; want kubectl's error", err, out)
	}
}

func TestRolloutWaitsForANode(t *testing.T) {
	script := `case "$*" in
*pods*) echo '` + fullNode + `' ;;
*) [ $n -lt 20 ] && echo '` + waitingWorkloads + `' || echo '` + readyWorkloads + `' ;;
esac`
	out, err := watched(t, script, time.Millisecond, time.Minute)
	if err != nil || strings.Count(out, "a-1: no node can run it") != 1 {
		t.Errorf("got %v, %q; want success, and one line about the node", err, out)
	}
}

func TestRolloutExplainsAtTheTimeout(t *testing.T) {
	script := `case "$*" in
*pods*) echo '` + fullNode + `' ;;
*events*) echo '{"kind":"List","items":[{"reason":"FailedScheduling","message":"no  memory"}]}' ;;
*) echo '` + waitingWorkloads + `' ;;
esac`
	out, err := watched(t, script, time.Minute, 100*time.Millisecond)
	if !errors.Is(err, errReported) || !strings.Contains(out, "not ready after 100ms") || !strings.Contains(out, "event  FailedScheduling: no memory\n") {
		t.Errorf("got %v, %q; want the pod's problem and its events", err, out)
	}
}

func TestRolloutEndsWithAFailedJob(t *testing.T) {
	script := `case "$*" in
*pods*) echo '` + failedPod + `' ;;
*events*) ;;
logs*--previous*) exit 1 ;;
logs*) echo "SQL Server refuses the password" ;;
*) echo '` + failedWorkloads + `' ;;
esac`
	out, err := watched(t, script, time.Minute, time.Minute)
	if !errors.Is(err, errReported) || !strings.Contains(out, "b: failed: too often") || !strings.Contains(out, "log    SQL Server refuses the password") {
		t.Errorf("got %v, %q; want the Job's failure and its log", err, out)
	}
}

func TestRolloutIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := rollout{lab: &lab{}, cluster: cluster{context: "test"}, interval: time.Millisecond, patience: time.Minute}
	if err := r.wait(ctx, []string{"deployment/a"}, time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that it was interrupted", err)
	}
}
