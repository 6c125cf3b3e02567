package manifests

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// immutable returns the fields of an object that the API server does not let
// anybody change, as JSON; nothing for a kind that has none.
func immutable(o metav1.Object) (string, error) {
	var fields any
	switch o := o.(type) {
	case *appsv1.Deployment:
		fields = o.Spec.Selector
	case *appsv1.StatefulSet:
		spec := o.Spec.DeepCopy() // all but these:
		spec.Replicas, spec.Ordinals, spec.MinReadySeconds = nil, nil, 0
		spec.Template = corev1.PodTemplateSpec{}
		spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{}
		spec.PersistentVolumeClaimRetentionPolicy = nil
		fields = spec
	case *batchv1.Job:
		spec := o.Spec.DeepCopy()
		spec.Parallelism, spec.ActiveDeadlineSeconds, spec.BackoffLimit = nil, nil, nil
		spec.Suspend, spec.TTLSecondsAfterFinished = nil, nil
		fields = spec
	case *corev1.PersistentVolumeClaim:
		fields = o.Spec // a request for storage may grow on some clusters, and shrink on none
	case *corev1.Service:
		fields = o.Spec.ClusterIP
	default:
		return "", nil
	}
	asJSON, err := json.Marshal(fields)
	return string(asJSON), err
}

// refused returns what the API server would refuse if one set of objects were
// applied where the other is.
func refused(there, applied []metav1.Object) ([]string, error) {
	have := map[string]string{}
	for _, o := range there {
		fields, err := immutable(o)
		if err != nil {
			return nil, err
		}
		have[fmt.Sprintf("%T %s", o, o.GetName())] = fields
	}
	var problems []string
	for _, o := range applied {
		fields, err := immutable(o)
		if err != nil {
			return nil, err
		}
		title := fmt.Sprintf("%T %s", o, o.GetName())
		if old, found := have[title]; found && old != fields {
			problems = append(problems, fmt.Sprintf("%s: immutable fields %s would become %s", title, old, fields))
		}
	}
	return problems, nil
}

// Whichever variant of whichever stage is there, any other can be applied over it.
func TestVariantsReplaceEachOther(t *testing.T) {
	variants := map[string][]metav1.Object{}
	for _, s := range stages(t) {
		for _, dir := range s.variants(t) {
			objects, err := decode(s.variant(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			variants[dir] = objects
		}
	}
	for there, old := range variants {
		for applied, objects := range variants {
			problems, err := refused(old, objects)
			if err != nil {
				t.Fatal(err)
			}
			for _, problem := range problems {
				t.Errorf("%s over %s: %s", applied, there, problem)
			}
		}
	}
}

func TestRefusedReplacementIsSeen(t *testing.T) {
	final := stage{"final", filepath.Join(root, "final")}
	text := string(final.variant(t, filepath.Join(final.dir, "k8s", "overlays", "production")))
	there, err := decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"pod management": {"podManagementPolicy: Parallel", "podManagementPolicy: OrderedReady", "StatefulSet rabbitmq"},
		"claim template": {"storage: 1Gi\n---", "storage: 2Gi\n---", "storage"},
		"selector":       {"matchLabels:\n      app: mssql", "matchLabels:\n      app: database", "Deployment mssql-depl"},
		"job's pods":     {"app: mssql-login\n", "app: login\n", "Job mssql-logins"},
		"headless":       {"clusterIP: None", "type: ClusterIP", "Service rabbitmq-nodes"},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.ReplaceAll(text, tt.old, tt.new)
			objects, err := decode([]byte(changed))
			if err != nil || changed == text {
				t.Fatalf("nothing was changed, or not well: %v", err)
			}
			problems, err := refused(there, objects)
			if got := strings.Join(problems, "\n"); err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, %v; want a problem with %q", got, err, tt.want)
			}
		})
	}
}
