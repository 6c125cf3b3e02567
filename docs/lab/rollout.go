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
