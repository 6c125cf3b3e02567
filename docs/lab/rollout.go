package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// workloadsOf gives those of the objects that run pods, as kind/name.
func workloadsOf(objects []object) []string {
	var names []string
	for _, o := range objects {
		switch o.Kind {
		case "Deployment", "StatefulSet", "Job":
			names = append(names, strings.ToLower(o.Kind)+"/"+o.Metadata.Name)
		}
	}
	return names
}

// workload is what the rollout reads of a Deployment, StatefulSet or Job.
type workload struct {
	Kind     string
	Metadata struct {
		Name       string
		Generation int64
	}
	Spec struct {
		Replicas    *int32
		Completions *int32
	}
	Status struct {
		ObservedGeneration                                  int64
		Replicas, UpdatedReplicas, ReadyReplicas, Succeeded int32
		AvailableReplicas                                   int32
	}
}

// progress says how many of the wanted pods are there, and if that is all.
func (w workload) progress() (string, bool) {
	if w.Kind == "Job" {
		if w.Status.Succeeded > 0 {
			return "done", true
		}
		return "runs", false
	}
	wanted := int32(1)
	if w.Spec.Replicas != nil {
		wanted = *w.Spec.Replicas
	}
	seen := w.Status.ObservedGeneration >= w.Metadata.Generation
	ready := min(w.Status.AvailableReplicas, w.Status.UpdatedReplicas)
	if !seen {
		ready = 0
	}
	done := seen && ready >= wanted && w.Status.Replicas <= wanted
	return fmt.Sprintf("%d of %d ready", min(ready, wanted), wanted), done
}

// pod is what is read of a pod.
type pod struct {
	Metadata struct {
		Name              string
		DeletionTimestamp string
	}
	Status struct {
		Phase                 string
		Conditions            []struct{ Type, Status, Reason, Message string }
		InitContainerStatuses []containerStatus
		ContainerStatuses     []containerStatus
	}
}

type containerStatus struct {
	Name         string
	Image        string
	Ready        bool
	RestartCount int
	State        containerState
	LastState    containerState
}

type containerState struct {
	Waiting    *struct{ Reason, Message string }
	Running    *struct{}
	Terminated *struct {
		Reason   string
		ExitCode int
	}
}

// problem is why a pod is not ready, and what to do about it, in one line.
type problem struct {
	text  string
	fatal bool // waiting does not help
}

// diagnose gives the pod's problem, or false when it only takes its time.
func diagnose(p pod) (problem, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == "PodScheduled" && c.Status == "False" {
			return unschedulable(c.Message), true
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := c.State.Waiting; w != nil {
			switch w.Reason {
			case "ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName":
				return problem{fmt.Sprintf("the cluster cannot get the image %s: is the name right, and was it loaded? "+
					"kubectl describe pod %s has the details", c.Image, p.Metadata.Name), true}, true
			case "CreateContainerConfigError", "CreateContainerError":
				return configError(w.Message), true
			case "CrashLoopBackOff":
				text := fmt.Sprintf("%s ends as soon as it starts; its last words are below", c.Name)
				if t := c.LastState.Terminated; t != nil && t.Reason == "OOMKilled" {
					text = fmt.Sprintf("%s needs more memory than its limit: raise resources.limits.memory", c.Name)
				} else if t != nil {
					text = fmt.Sprintf("%s ends with exit status %d as soon as it starts; its last words are below", c.Name, t.ExitCode)
				}
				return problem{text, c.RestartCount >= 3}, true
			}
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && !c.Ready {
			return problem{c.Name + " runs, but its readiness probe fails: it waits for something; its last words are below", false}, true
		}
	}
	return problem{}, false
}

func unschedulable(message string) problem {
	advice := "kubectl describe nodes shows what they have"
	switch {
	case strings.Contains(message, "Insufficient memory"), strings.Contains(message, "Insufficient cpu"):
		advice = "give the cluster more, or leave SQL Server out with --sqlite"
	case strings.Contains(message, "node affinity/selector"):
		advice = "SQL Server's image is for amd64 only: leave it out with --sqlite"
	case strings.Contains(message, "PersistentVolumeClaim"), strings.Contains(message, "persistentvolumeclaim"):
		advice = "kubectl get storageclass has to show a default one"
	}
	return problem{fmt.Sprintf("no node can take it (%s): %s", strings.TrimSuffix(message, "."), advice), true}
}

func configError(message string) problem {
	advice := "put the manifest right"
	switch {
	case strings.Contains(message, "ecret"):
		advice = "go tool lab deploy creates the secrets that are missing"
	case strings.Contains(message, "runAsNonRoot"):
		advice = "the image has to name a user by number, or the manifest runAsUser"
	}
	return problem{fmt.Sprintf("its container cannot be made (%s): %s", message, advice), true}
}

// patience is how long a fatal problem may last: some heal while all begins at once.
const patience = 20 * time.Second

// waitReady waits until all workloads are ready, and prints their progress. It
// gives up after timeout, or when a problem does not go away by itself.
func waitReady(ctx context.Context, l *lab, k cluster, names []string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	shown := map[string]string{}    // what was last printed of each workload
	since := map[string]time.Time{} // when each problem was first seen
	for {
		waiting, err := unready(ctx, k, names, func(name, progress string) {
			if shown[name] != progress {
				shown[name] = progress
				fmt.Fprintf(l.err, "%4.0fs %s: %s\n", time.Since(began).Seconds(), name, progress)
			}
		})
		if err == nil && len(waiting) == 0 {
			return nil
		}
		if err == nil {
			var stuck []pod
			if stuck, err = stuckPods(ctx, k, waiting, since); err == nil && len(stuck) > 0 {
				explain(ctx, l, k, stuck)
				return errReported
			}
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if !time.Now().Before(began.Add(timeout)) {
				fmt.Fprintf(l.err, "lab: not ready after %s:\n", timeout)
				explainAll(context.WithoutCancel(ctx), l, k, waiting)
				return errReported
			}
			return ctx.Err()
		}
	}
}

// unready gives the names of the workloads that are not ready, and reports the
// progress of each.
func unready(ctx context.Context, k cluster, names []string, report func(name, progress string)) ([]string, error) {
	out, err := k.run(ctx, "", append([]string{"get", "-o", "json"}, names...)...)
	if err != nil {
		return nil, err
	}
	workloads, err := decodeList[workload](out)
	if err != nil {
		return nil, err
	}
	var waiting []string
	for _, w := range workloads {
		progress, done := w.progress()
		report(w.Metadata.Name, progress)
		if !done {
			waiting = append(waiting, w.Metadata.Name)
		}
	}
	return waiting, nil
}

// decodeList reads what `kubectl get -o json` prints: a list, or the only object.
func decodeList[T any](out string) ([]T, error) {
	var list struct {
		Kind  string
		Items []T
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, fmt.Errorf("read what kubectl prints: %w", err)
	}
	if list.Kind == "List" || list.Items != nil {
		return list.Items, nil
	}
	var only T
	if err := json.Unmarshal([]byte(out), &only); err != nil {
		return nil, fmt.Errorf("read what kubectl prints: %w", err)
	}
	return []T{only}, nil
}

// podsOf gives the pods of the workloads that are not on their way out.
func podsOf(ctx context.Context, k cluster, workloads []string) ([]pod, error) {
	out, err := k.run(ctx, "", "get", "pods", "-l", partOf, "-o", "json")
	if err != nil {
		return nil, err
	}
	pods, err := decodeList[pod](out)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(pods, func(p pod) bool {
		return p.Metadata.DeletionTimestamp != "" || p.Status.Phase == "Succeeded" ||
			!slices.ContainsFunc(workloads, func(name string) bool { return strings.HasPrefix(p.Metadata.Name, name+"-") })
	}), nil
}

// stuckPods gives the pods that have a fatal problem, as soon as one of them
// has had it for too long.
func stuckPods(ctx context.Context, k cluster, workloads []string, since map[string]time.Time) ([]pod, error) {
	pods, err := podsOf(ctx, k, workloads)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	enough := false
	var stuck []pod
	for _, p := range pods {
		problem, ok := diagnose(p)
		if !ok || !problem.fatal {
			continue
		}
		seen[p.Metadata.Name] = true
		if since[p.Metadata.Name].IsZero() {
			since[p.Metadata.Name] = time.Now()
		}
		stuck = append(stuck, p)
		enough = enough || time.Since(since[p.Metadata.Name]) >= patience
	}
	for name := range since {
		if !seen[name] {
			delete(since, name)
		}
	}
	if !enough {
		return nil, nil
	}
	return stuck, nil
}

func explainAll(ctx context.Context, l *lab, k cluster, workloads []string) {
	pods, err := podsOf(ctx, k, workloads)
	if err != nil {
		fmt.Fprintf(l.err, "lab: %v\n", err)
		return
	}
	explain(ctx, l, k, pods)
}

// explain says of each pod why it is not ready: in one line, then with the
// pod's last events and what it last printed.
func explain(ctx context.Context, l *lab, k cluster, pods []pod) {
	for _, p := range pods {
		text := "it takes its time"
		if problem, ok := diagnose(p); ok {
			text = problem.text
		} else if !slices.ContainsFunc(p.Status.ContainerStatuses, func(c containerStatus) bool { return !c.Ready }) &&
			len(p.Status.ContainerStatuses) > 0 {
			continue // this one is ready
		}
		fmt.Fprintf(l.err, "lab: %s: %s\n", p.Metadata.Name, text)
		events, err := k.run(ctx, "", "get", "events", "--field-selector", "involvedObject.name="+p.Metadata.Name+",type=Warning",
			"-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
		if err == nil {
			printTail(l, "event", events, 3)
		}
		for _, c := range p.Status.ContainerStatuses {
			args := []string{"logs", p.Metadata.Name, "-c", c.Name, "--tail=5"}
			if c.State.Running == nil {
				args = append(args, "--previous")
			}
			if logs, err := k.run(ctx, "", args...); err == nil {
				printTail(l, "log", logs, 5)
			}
		}
	}
}

func printTail(l *lab, what, text string, n int) {
	text = strings.TrimSpace(text)
	if text == "" {
		return
	}
	lines := strings.Split(text, "\n")
	for _, line := range lines[max(0, len(lines)-n):] {
		fmt.Fprintf(l.err, "  %-5s  %s\n", what, line)
	}
}
