package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestBackgroundsEndWithTheirChildren(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	t.Setenv("PIDS", pids)
	v, out := verifyDocument(t, `
'''sh background ready="first"
sleep 60 & echo $! >>"$PIDS"
echo first
wait
'''

'''sh background replaces ready="second"
while grep -qs 'State:.[^Z]' /proc/$(head -1 "$PIDS")/status; do sleep 0.05; done
echo second
sleep 60 & echo $! >>"$PIDS"
wait
'''

'''sh background ready="third"
sleep 60 & echo $! >>"$PIDS"
echo third
wait
'''

'''sh background replaces=2 ready="fourth"
for pid in $(cat "$PIDS"); do
  while grep -qs 'State:.[^Z]' /proc/$pid/status; do sleep 0.05; done
done
echo fourth
'''

'''sh run
sleep 60 & echo $! >>"$PIDS"
'''
`, nil)
	if v.report.failed != 0 {
		t.Fatal(out)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(strings.Fields(string(text))); n != 4 {
		t.Fatalf("%d processes were started, want 4", n)
	}
	for _, pid := range strings.Fields(string(text)) {
		waitUntilGone(t, pid)
	}
}

// waitUntilGone fails the test if the process stays. It was killed, but its parent may not
// have noticed yet.
func waitUntilGone(t *testing.T, pid string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); ; <-tick.C {
		status, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil || strings.Contains(string(status), ") Z ") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s is still there", pid)
		}
	}
}
