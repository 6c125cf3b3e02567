package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// pod holds the parts of a pod that are read.
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

// diagnose returns the pod's problem, or false if it only needs more time.
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
				text := fmt.Sprintf("%s ends as soon as it starts", c.Name)
				if t := c.LastState.Terminated; t != nil && t.Reason == "OOMKilled" {
					text = fmt.Sprintf("%s needs more memory than its limit: raise resources.limits.memory", c.Name)
				} else if t != nil {
					text = fmt.Sprintf("%s ends with exit status %d as soon as it starts", c.Name, t.ExitCode)
				}
				return problem{text, c.RestartCount >= 3}, true
			}
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && !c.Ready {
			return problem{c.Name + " runs, but its readiness probe fails: it waits for something", false}, true
		}
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return problem{fmt.Sprintf("%s has ended with exit status %d", c.Name, t.ExitCode), false}, true
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
	// Not fatal: a node, or a volume, may still be added.
	return problem{fmt.Sprintf("no node can run it (%s): %s", strings.TrimSuffix(message, "."), advice), false}
}

func configError(message string) problem {
	advice := "put the manifest right"
	switch {
	case strings.Contains(message, "ecret"):
		advice = "go tool lab deploy creates the secrets that are missing"
	case strings.Contains(message, "runAsNonRoot"):
		advice = "the image has to name a user by number, or the manifest runAsUser"
	}
	return problem{fmt.Sprintf("its container cannot be created (%s): %s", message, advice), true}
}

func explainAll(ctx context.Context, l *lab, k cluster, workloads []string) {
	pods, err := podsOf(ctx, k, workloads)
	if err != nil {
		fmt.Fprintf(l.err, "lab: %v\n", err)
		return
	}
	explain(ctx, l, k, pods)
}

// explain says why each pod is not ready: first in one line, then with the pod's last
// events and its last output.
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
		printTail(l, "event", warnings(ctx, k, p), 3)
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if t := c.State.Terminated; t != nil && t.ExitCode == 0 {
				continue // an init container that has done its work
			}
			args := []string{"logs", p.Metadata.Name, "-c", c.Name, "--tail=5"}
			if c.State.Waiting != nil {
				args = append(args, "--previous")
			}
			if logs, err := k.run(ctx, "", args...); err == nil {
				printTail(l, "log", logs, 5)
			}
		}
	}
}

// warnings returns the pod's warnings, one line each.
func warnings(ctx context.Context, k cluster, p pod) string {
	out, err := k.run(ctx, "", "get", "events", "-o", "json", "--field-selector", "involvedObject.name="+p.Metadata.Name+",type=Warning")
	if err != nil {
		return ""
	}
	events, err := decodeList[struct{ Reason, Message string }](out)
	if err != nil {
		return ""
	}
	var lines []string
	for _, e := range events {
		text := []rune(strings.Join(strings.Fields(e.Message), " "))
		lines = append(lines, e.Reason+": "+string(text[:min(len(text), 300)]))
	}
	return strings.Join(lines, "\n")
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
