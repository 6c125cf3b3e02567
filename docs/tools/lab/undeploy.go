package main

import (
	"context"
	"fmt"
	"slices"
)

func undeployVerb() verb {
	var o deployOptions
	v := verb{
		name:    "undeploy",
		args:    "STAGE",
		summary: "removes a stage from the cluster, with its data",
		about: `Deletes everything labelled as part of microcomm in the namespace, volumes included,
and the secrets that "lab deploy" created. Waits until all of it is gone.`,
		run: func(ctx context.Context, l *lab, names []string) error { return undeploy(ctx, l, o, names[0]) },
	}
	o.common(&v)
	return v
}

func undeploy(ctx context.Context, l *lab, o deployOptions, name string) error {
	if err := o.choose(l, name); err != nil {
		return err
	}
	k, err := currentCluster(ctx, o.namespace)
	if err != nil {
		return err
	}
	there, err := k.deployed(ctx)
	if err != nil {
		return err
	}
	if there != "" && there != o.stage.Name {
		return fmt.Errorf("%s is what is deployed there: go tool lab undeploy %s", there, there)
	}
	kinds := partOfKinds + ",secrets"
	if k.serves(ctx, gatewayAPI) {
		kinds += "," + gatewayKind + "," + routeKind
	}
	names, err := k.objects(ctx, kinds)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		fmt.Fprintf(l.out, "Nothing of microcomm is in %s.\n", k)
		return nil
	}
	question := fmt.Sprintf("Delete %d objects from %s?", len(names), k)
	if slices.ContainsFunc(names, isVolume) {
		question = fmt.Sprintf("Delete %d objects, data included, from %s?", len(names), k)
	}
	if err := confirm(l, o.yes, question); err != nil {
		return err
	}
	if err := k.delete(ctx, l, names); err != nil {
		return err
	}
	fmt.Fprintf(l.out, "%s is gone from %s.\n", o.stage.Name, k)
	return nil
}
