package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

func isVolume(name string) bool { return strings.HasPrefix(name, "persistentvolumeclaim/") }

func isJob(name string) bool { return strings.HasPrefix(name, "job/") }

// leftOver returns those of the names that none of the objects has. Were they to
// stay, a Service could have the pods of two stages behind it. Volumes are not
// among them: they do nothing by themselves, and hold data.
func leftOver(there []string, objects []object) []string {
	return slices.DeleteFunc(slices.Clone(there), func(name string) bool {
		return isVolume(name) || slices.ContainsFunc(objects, func(o object) bool { return o.name() == name })
	})
}

// confirmReplace says what is deployed and what of it has to go, before it asks.
func confirmReplace(ctx context.Context, l *lab, k cluster, o deployOptions, old []string) error {
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there == "" {
		there = o.stage.name
	}
	if o.keep && (there != o.stage.name || len(old) > 0) {
		return fmt.Errorf("%s is deployed to %s, and --keep keeps it: go tool lab undeploy %s takes it off", there, k, there)
	}
	if there != o.stage.name {
		fmt.Fprintf(l.err, "%s is deployed to %s.\n", there, k)
	}
	if len(old) > 0 {
		fmt.Fprintf(l.err, "These objects are not part of what is deployed now, and are deleted:\n  %s\n", strings.Join(old, "\n  "))
	}
	return confirm(l, o.yes, fmt.Sprintf("Deploy %s to %s?", o.stage.name, k))
}
