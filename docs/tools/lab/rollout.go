package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// workloadsOf returns those of the objects that run pods, as kind/name.
func workloadsOf(objects []object) []string {
	var names []string
	for _, o := range objects {
		switch o.Kind {
		case "Deployment", "StatefulSet", "Job":
			names = append(names, o.name())
		}
	}
	return names
}

// workload holds the parts of a Deployment, StatefulSet or Job that rollout reads.
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
		Conditions                                          []struct{ Type, Status, Message string }
	}
}

// failed says why a Job has failed. For everything else it returns "".
func (w workload) failed() string {
	for _, c := range w.Status.Conditions {
		if w.Kind == "Job" && c.Type == "Failed" && c.Status == "True" {
			return c.Message
		}
	}
	return ""
}

// progress says how many of the wanted pods are ready, and whether all are.
func (w workload) progress() (string, bool) {
	if w.Kind == "Job" {
		if w.Status.Succeeded > 0 {
			return "done", true
		}
		if reason := w.failed(); reason != "" {
			return "failed: " + reason, false
		}
		return "runs", false
	}
	wanted := int32(1)
	if w.Spec.Replicas != nil {
		wanted = *w.Spec.Replicas
	}
	seen := w.Status.ObservedGeneration >= w.Metadata.Generation
	old := w.Status.Replicas - w.Status.UpdatedReplicas // the available ones may be old
	ready := max(0, w.Status.AvailableReplicas-old)
	if !seen {
		ready = 0
	}
	done := seen && ready >= wanted && w.Status.Replicas <= wanted
	return fmt.Sprintf("%d of %d ready", min(ready, wanted), wanted), done
}

// rollout watches workloads until they are ready, and prints their progress.
type rollout struct {
	lab      *lab
	cluster  cluster
	interval time.Duration
	patience time.Duration        // how long a problem may last: some disappear while everything starts at once
	began    time.Time            // when the watch began
	shown    map[string]string    // what was last printed about each workload and pod
	since    map[string]time.Time // when each problem was first seen
}

// waitReady waits until all workloads are ready. It returns an error after timeout, or
// when a problem does not disappear.
func waitReady(ctx context.Context, l *lab, k cluster, names []string, timeout time.Duration) error {
	r := rollout{lab: l, cluster: k, interval: time.Second, patience: 20 * time.Second}
	return r.wait(ctx, names, timeout)
}

func (r *rollout) wait(ctx context.Context, names []string, timeout time.Duration) error {
	r.began, r.shown, r.since = time.Now(), map[string]string{}, map[string]time.Time{}
	waitCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	var waiting []string // all, until kubectl has responded
	for _, name := range names {
		_, name, _ = strings.Cut(name, "/")
		waiting = append(waiting, name)
	}
	var failing time.Time // since when kubectl has been failing
	for {
		still, err := r.look(waitCtx, names)
		switch {
		case err == nil && len(still) == 0:
			return nil
		case err == nil:
			waiting, failing = still, time.Time{}
		case errors.Is(err, errReported):
			return err
		case waitCtx.Err() == nil && failing.IsZero():
			failing = time.Now()
			r.show("kubectl", fmt.Sprintf("trying again (%v)", err))
		case waitCtx.Err() == nil && time.Since(failing) >= r.patience:
			return err
		}
		select {
		case <-tick.C:
		case <-waitCtx.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			fmt.Fprintf(r.lab.err, "lab: not ready after %s:\n", timeout)
			explainAll(ctx, r.lab, r.cluster, waiting)
			return errReported
		}
	}
}

// show prints the state of a workload or pod if it has changed.
func (r *rollout) show(name, text string) {
	if r.shown[name] != text {
		r.shown[name] = text
		fmt.Fprintf(r.lab.err, "%4.0fs %s: %s\n", time.Since(r.began).Seconds(), name, text)
	}
}

// look returns the workloads that are not ready. When waiting for them does not
// help it explains why, and returns errReported.
func (r *rollout) look(ctx context.Context, names []string) ([]string, error) {
	out, err := r.cluster.run(ctx, "", append([]string{"get", "-o", "json"}, names...)...)
	if err != nil {
		return nil, err
	}
	workloads, err := decodeList[workload](out)
	if err != nil {
		return nil, err
	}
	var waiting, failed []string
	for _, w := range workloads {
		progress, done := w.progress()
		r.show(w.Metadata.Name, progress)
		if !done {
			waiting = append(waiting, w.Metadata.Name)
		}
		if w.failed() != "" {
			failed = append(failed, w.Metadata.Name)
		}
	}
	if len(failed) > 0 {
		explainAll(ctx, r.lab, r.cluster, failed)
		return nil, errReported
	}
	pods, err := podsOf(ctx, r.cluster, waiting)
	if err != nil {
		return nil, err
	}
	if stuck := r.stuck(pods); len(stuck) > 0 {
		explain(ctx, r.lab, r.cluster, stuck)
		return nil, errReported
	}
	return waiting, nil
}

// stuck returns the pods with a fatal problem, as soon as one of them has had it for too
// long. For a problem that may disappear it prints a line.
func (r *rollout) stuck(pods []pod) []pod {
	since := map[string]time.Time{}
	var fatal []pod
	enough := false
	for _, p := range pods {
		problem, ok := diagnose(p)
		if !ok {
			continue
		}
		key := fmt.Sprint(p.Metadata.Name, problem.fatal)
		since[key] = time.Now()
		if first, known := r.since[key]; known {
			since[key] = first
		}
		long := time.Since(since[key]) >= r.patience
		switch {
		case problem.fatal:
			fatal = append(fatal, p)
			enough = enough || long
		case long:
			r.show(p.Metadata.Name, problem.text)
		}
	}
	r.since = since
	if !enough {
		return nil
	}
	return fatal
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

// podsOf returns the pods of the workloads, without those being deleted.
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
