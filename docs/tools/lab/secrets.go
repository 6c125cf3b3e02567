package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// secretKeys returns the keys of each Secret that the objects use.
func secretKeys(objects []object) (map[string][]string, error) {
	keys := map[string][]string{}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, each := range value {
				walk(each)
			}
		case map[string]any:
			if ref, ok := value["secretKeyRef"].(map[string]any); ok {
				name, _ := ref["name"].(string)
				key, _ := ref["key"].(string)
				if !slices.Contains(keys[name], key) {
					keys[name] = append(keys[name], key)
				}
			}
			for _, each := range value {
				walk(each)
			}
		}
	}
	for _, o := range objects {
		if len(o.Spec) == 0 {
			continue
		}
		var spec any
		if err := json.Unmarshal(o.Spec, &spec); err != nil {
			return nil, fmt.Errorf("read %s %s: %w", o.Kind, o.Metadata.Name, err)
		}
		walk(spec)
	}
	return keys, nil
}

// createSecrets creates the secrets that objects need and the namespace lacks. It sends
// the values through a pipe, since other users can see a command line.
func createSecrets(ctx context.Context, l *lab, k cluster, objects []object) error {
	keys, err := secretKeys(objects)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		out, err := k.run(ctx, "", "get", "secret", name, "--ignore-not-found", "-o", "json")
		if err != nil {
			return err
		}
		if out != "" {
			var there struct{ Data map[string]string }
			if err := json.Unmarshal([]byte(out), &there); err != nil {
				return fmt.Errorf("read secret %s: %w", name, err)
			}
			for _, key := range keys[name] {
				if there.Data[key] == "" {
					return fmt.Errorf("secret %s has no key %s: kubectl delete secret %s, and deploy again to create it",
						name, key, name)
				}
			}
			continue
		}
		values := map[string]string{}
		for _, key := range keys[name] {
			values[key] = newPassword()
		}
		secret, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "Secret", "stringData": values,
			"metadata": map[string]any{"name": name, "labels": map[string]string{
				"app.kubernetes.io/part-of": "microcomm", "app.kubernetes.io/managed-by": "lab"}},
		})
		if err != nil {
			return err
		}
		if _, err := k.run(ctx, string(secret), "create", "-f", "-"); err != nil {
			return err
		}
		fmt.Fprintf(l.err, "secret/%s created with a new password\n", name)
	}
	return nil
}

// newPassword returns a password with 128 random bits and the four kinds of characters
// that SQL Server requires, but none with a meaning in a URL.
func newPassword() string {
	random := make([]byte, 16)
	rand.Read(random) // never fails
	return "Mc-" + hex.EncodeToString(random) + "0"
}
