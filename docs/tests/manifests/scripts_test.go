package manifests

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// script runs what a manifest has a shell do, after replacing paths in it.
func script(t *testing.T, command, env []string, replace ...string) (string, error) {
	t.Helper()
	shell, err := exec.LookPath(filepath.Base(command[0]))
	if err != nil {
		t.Skip("no shell to run it with: ", err)
	}
	text := strings.NewReplacer(replace...).Replace(command[len(command)-1])
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, shell, "-c", text)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// RabbitMQ refuses a cookie that others may read. What a kubelet makes of its mode
// between two starts (fsGroup adds the group), or RabbitMQ itself, does not matter.
func TestCookieIsItsOwners(t *testing.T) {
	final := stage{"final", filepath.Join(root, "final")}
	for _, dir := range final.variants(t) {
		objects, err := decode(final.variant(t, dir))
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, o := range objects {
			set, ok := o.(*appsv1.StatefulSet)
			if !ok {
				continue
			}
			pod := set.Spec.Template.Spec
			if policy := pod.SecurityContext.FSGroupChangePolicy; policy == nil || *policy != corev1.FSGroupChangeOnRootMismatch {
				t.Errorf("%s: at each start the kubelet changes the cookie's mode", dir)
			}
			for _, c := range pod.InitContainers {
				found = true
				volume := t.TempDir()
				path := filepath.Join(volume, ".erlang.cookie")
				for _, mode := range []os.FileMode{0, 0o660, 0o400} {
					if mode != 0 {
						if err := os.Chmod(path, mode); err != nil {
							t.Fatal(err)
						}
					}
					if out, err := script(t, c.Command, []string{"COOKIE=secret"}, "/var/lib/rabbitmq", volume); err != nil {
						t.Fatalf("%s: after mode %o: %v: %s", dir, mode, err, out)
					}
					info, err := os.Stat(path)
					if err != nil {
						t.Fatal(err)
					}
					if text, err := os.ReadFile(path); err != nil || string(text) != "secret" || info.Mode().Perm() != 0o600 {
						t.Errorf("%s: after mode %o: got cookie %q, mode %o, %v; want 600", dir, mode, text, info.Mode().Perm(), err)
					}
				}
			}
		}
		if !found {
			t.Errorf("%s: nothing writes a cookie", dir)
		}
	}
}

// A RabbitMQ node of several has started when it has a copy of each quorum queue:
// the next one may be replaced, or lost, then.
func TestRabbitMQNodeHasEachQueue(t *testing.T) {
	final := stage{"final", filepath.Join(root, "final")}
	for _, overlay := range []string{"production", "drill"} {
		objects, err := decode(final.variant(t, filepath.Join(final.dir, "k8s", "overlays", overlay)))
		if err != nil {
			t.Fatal(err)
		}
		var command []string
		for _, o := range objects {
			if set, ok := o.(*appsv1.StatefulSet); ok {
				command = set.Spec.Template.Spec.Containers[0].StartupProbe.Exec.Command
			}
		}
		for name, tt := range map[string]struct {
			ports, grow string
			started     bool
		}{
			"has all":         {"exit 0", "echo", true},
			"gets its copies": {"exit 0", `printf '/\tevents\t2\tok\n/\tdead\t2\tok\n'`, true},
			"ports closed":    {"exit 69", "echo", false},
			"another joins":   {"exit 0", `printf '/\tevents\t2\tok\n/\tdead\t1\terror: cluster_change_not_permitted\n'`, false},
			"no majority":     {"exit 0", `printf '/\tevents\t1\tthe operation timed out and may not have been completed\n'`, false},
			"node is down":    {"exit 0", "exit 69", false},
		} {
			dir := t.TempDir()
			for file, text := range map[string]string{"rabbitmq-diagnostics": tt.ports, "rabbitmq-queues": tt.grow} {
				if err := os.WriteFile(filepath.Join(dir, file), []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
					t.Fatal(err)
				}
			}
			out, err := script(t, command, []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH"), "RABBITMQ_NODENAME=rabbit@a"})
			if (err == nil) != tt.started {
				t.Errorf("%s: %s: got %v, %q; want started: %v", overlay, name, err, out, tt.started)
			}
		}
	}
}

// sqlcmd stands in for SQL Server's: it appends its arguments to the file calls,
// and the nth call is answered by the nth line of answers, the last one for ever.
const sqlcmd = `#!/bin/sh
echo "$*" >>"$DIR/calls"
n=$(($(wc -l <"$DIR/calls")))
answer=$(sed -n "${n}p" "$DIR/answers")
[ -n "$answer" ] || answer=$(tail -n 1 "$DIR/answers")
[ "$answer" != ok ] || exit 0
echo "Sqlcmd: Error: Microsoft ODBC Driver 18 for SQL Server : $answer."
exit 1
`

// What SQL Server may say to SA.
const (
	loginFailed  = "Login failed for user 'sa'."
	loginTimeout = "Login timeout expired"
	upgrading    = "Login failed for user 'sa'. Reason: Server is in script upgrade mode. Only administrator can connect at this time."
)

// SQL Server is ready when it handles logins, also while it refuses SA's password:
// those of the services are others.
func TestSQLServerIsReady(t *testing.T) {
	final := stage{"final", filepath.Join(root, "final")}
	objects, err := decode(final.variant(t, filepath.Join(final.dir, "k8s", "overlays", "production")))
	if err != nil {
		t.Fatal(err)
	}
	var command []string
	for _, o := range objects {
		if d, ok := o.(*appsv1.Deployment); ok && d.Name == "mssql-depl" && d.Spec.Template.Spec.Containers[0].ReadinessProbe.Exec != nil {
			command = d.Spec.Template.Spec.Containers[0].ReadinessProbe.Exec.Command
		}
	}
	if command == nil {
		t.Fatal("SQL Server is not asked if it is ready")
	}
	for answer, ready := range map[string]bool{"ok": true, loginFailed: true, loginTimeout: false, upgrading: false} {
		dir := t.TempDir()
		for file, text := range map[string]string{"sqlcmd": sqlcmd, "answers": answer} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		out, err := script(t, command, []string{"DIR=" + dir, "MSSQL_SA_PASSWORD=secret"}, "/opt/mssql-tools18/bin/sqlcmd", filepath.Join(dir, "sqlcmd"))
		if calls, _ := os.ReadFile(filepath.Join(dir, "calls")); (err == nil) != ready || len(calls) == 0 || strings.Contains(string(calls), "secret") {
			t.Errorf("%s: got %v, %q after %q, want ready: %v", answer, err, out, calls, ready)
		}
	}
}

func TestLoginJob(t *testing.T) {
	repeat := func(n int, answer string) string { return strings.Repeat(answer+"\n", n) }
	for _, s := range stages(t) {
		var command []string
		for _, dir := range s.variants(t) {
			objects, err := decode(s.variant(t, dir))
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range objects {
				if job, ok := o.(*batchv1.Job); ok {
					command = job.Spec.Template.Spec.Containers[0].Command
				}
			}
		}
		if command == nil {
			if s.name >= "05" {
				t.Errorf("%s has no Job", s.name)
			}
			continue
		}
		for name, tt := range map[string]struct {
			answers string
			fails   bool
			says    string
		}{
			"ready":          {answers: "ok"},
			"starting":       {answers: repeat(40, loginTimeout) + "ok", says: "waiting for SQL Server: Sqlcmd: Error: Microsoft ODBC Driver 18 for SQL Server : Login timeout expired"},
			"first start":    {answers: repeat(10, loginFailed) + "ok"},
			"upgrade":        {answers: repeat(40, upgrading) + "ok"},
			"wrong password": {answers: loginFailed, fails: true, says: "SQL Server refuses the password of SA"},
			"script fails":   {answers: "ok\nsyntax error", fails: true, says: "syntax error"},
		} {
			t.Run(s.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				for file, text := range map[string]string{"sqlcmd": sqlcmd, "answers": tt.answers} {
					if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				out, err := script(t, command, []string{"DIR=" + dir},
					"/opt/mssql-tools18/bin/sqlcmd", filepath.Join(dir, "sqlcmd"), "sleep 2", ":")
				if (err != nil) != tt.fails || !strings.Contains(out, tt.says) {
					t.Errorf("got %v, %q; want a failure: %v, and %q", err, out, tt.fails, tt.says)
				}
				calls, _ := os.ReadFile(filepath.Join(dir, "calls"))
				if made := strings.Contains(string(calls), "-b -S mssql-clusterip-srv -U sa -i /sql/login.sql"); made != strings.Contains(tt.answers, "ok") {
					t.Errorf("the login's script was run: %v", made)
				}
			})
		}
	}
}
