package main

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func isVolume(name string) bool { return strings.HasPrefix(name, "persistentvolumeclaim/") }

func isJob(name string) bool { return strings.HasPrefix(name, "job/") }

// leftOver returns the names that none of the objects has. If they stayed, a Service
// could select the pods of two stages. It leaves out volumes, which only hold data.
func leftOver(there []string, objects []object) []string {
	return slices.DeleteFunc(slices.Clone(there), func(name string) bool {
		return isVolume(name) || slices.ContainsFunc(objects, func(o object) bool { return o.name() == name })
	})
}

// shrunk returns an error if a StatefulSet would run fewer pods than before: a RabbitMQ
// node that was in a cluster waits for the other nodes.
func shrunk(there []string, objects []object) error {
	for _, o := range objects {
		if o.Kind != "StatefulSet" {
			continue
		}
		spec := struct{ Replicas int }{Replicas: 1}
		if err := json.Unmarshal(o.Spec, &spec); err != nil {
			return fmt.Errorf("read %s: %w", o.name(), err)
		}
		volume := regexp.MustCompile("^persistentvolumeclaim/.+-" + regexp.QuoteMeta(o.Metadata.Name) + `-(\d+)$`)
		for _, name := range there {
			found := volume.FindStringSubmatch(name)
			if found == nil {
				continue
			}
			if number, err := strconv.Atoi(found[1]); err == nil && number >= spec.Replicas {
				return fmt.Errorf("%s has run with more pods here (%s exists), and cannot continue with %d: "+
					"go tool lab undeploy takes it off with its data", o.name(), name, spec.Replicas)
			}
		}
	}
	return nil
}

// confirmReplace says what is deployed and which objects will be deleted, and asks.
func confirmReplace(ctx context.Context, l *lab, k cluster, o deployOptions, old []string) error {
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there == "" {
		there = o.stage.Name
	}
	if o.keep && (there != o.stage.Name || len(old) > 0) {
		return fmt.Errorf("%s is deployed to %s, and --keep keeps it: go tool lab undeploy %s removes it", there, k, there)
	}
	if there != o.stage.Name {
		fmt.Fprintf(l.err, "%s is deployed to %s.\n", there, k)
	}
	if len(old) > 0 {
		fmt.Fprintf(l.err, "The new deployment does not have these objects; they are deleted:\n  %s\n", strings.Join(old, "\n  "))
	}
	return confirm(l, o.yes, fmt.Sprintf("Deploy %s to %s?", o.stage.Name, k))
}
