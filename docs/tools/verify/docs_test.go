package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// fence stands for ``` in the documents below.
func fence(text string) string { return strings.ReplaceAll(text, "'''", "```") }

// fixture is a checkout with a few files, and its verifier.
func fixture(t *testing.T, files map[string]string) (*verifier, *strings.Builder) {
	t.Helper()
	out := &strings.Builder{}
	v := &verifier{root: t.TempDir(), temp: t.TempDir(), limits: defaultLimits, report: &report{out: out}}
	for name, text := range files {
		path := filepath.Join(v.root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(fence(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := repo.Git(t.Context(), v.root, "init", "--quiet"); err != nil {
		t.Fatal(err)
	}
	return v, out
}

// verifyDocument verifies one document among the given files.
func verifyDocument(t *testing.T, text string, files map[string]string) (*verifier, string) {
	t.Helper()
	all := map[string]string{"README.md": text}
	maps.Copy(all, files)
	v, out := fixture(t, all)
	// Only the limit that a test is about is short: a busy machine exceeds it anywhere.
	what, _, _ := strings.Cut(text, "\n")
	switch what {
	case "no block ends":
		v.limits.block = 5 * time.Second // enough to print something first
	case "nothing is ready":
		v.limits.ready = time.Second
	case "no output arrives":
		v.limits.wait = time.Second
	}
	if err := v.docs(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	return v, out.String()
}

func TestACorrectDocumentPasses(t *testing.T) {
	v, out := verifyDocument(t, `
# The title

See [below](#the-title-1), [a folder](docs), [lines](docs/code.go#L1-L2), [another](docs/other.md#a-heading),
[elsewhere](https://example.com/nothing) and ![a picture](docs/code.go).

'''sh run
cd docs
colour=blue
'''

'''sh run
pwd
echo "$colour on localhost:5000"
cat /tmp/note 2>/dev/null || echo none >/tmp/note
'''

'''text output
/home/you/microcomm/docs
blue on localhost:5000
'''

- in a list:

  '''sh background ready="listening on localhost:6000"
  echo "$COMMANDS_HTTP_ADDR" | sed 's/^/listening on /'
  sleep 60
  '''

  '''sh run exit=3
  (exit 3)
  '''

'''sh run
echo one; echo two; echo three; echo took 12ms, process 123
git log --oneline | wc -l
'''

'''text output
one
…
took 7ms, process 4
1
'''

'''sh run
seq 5
'''

'''text output partial
2
4
'''

'''go file=docs/code.go
package code
// …
func   two() {}
'''

'''go sketch
anything()
'''

'''sh manual reason="takes long"
false
'''

'''sh cluster
false
'''

## The title
`, map[string]string{
		"docs/code.go":  "package code\n\nfunc one() {}\n\nfunc two() {}\n",
		"docs/other.md": "# A `heading`!\n",
	})
	r := v.report
	if r.failed != 0 || r.skipped != 2 || r.passed != 9 {
		t.Errorf("got %d passed, %d failed, %d skipped\n%s", r.passed, r.failed, r.skipped, out)
	}
}

// Each document has one fault, and the report must name it.
func TestADocumentWithAFaultFails(t *testing.T) {
	files := map[string]string{
		"code.go":    "package code\n\nfunc one() {}\n\nfunc two() {}\n",
		"other.md":   "# One\n\n# One\n",
		"ignored":    "",
		".gitignore": "ignored\n",
	}
	for name, test := range map[string]struct{ text, want string }{
		"changed output":                {"'''sh run\necho new\n'''\n\n'''text output\nold\n'''\n", "README.md:1: the output differs from line 6 (- shown, + printed):\n       - old\n       + new"},
		"one line more":                 {"'''sh run\necho a; echo b\n'''\n\n'''text output\na\n'''\n", "+ b"},
		"one line less":                 {"'''sh run\necho a\n'''\n\n'''text output\na\n…\nb\n'''\n", "- b"},
		"other order":                   {"'''sh run\necho a; echo b\n'''\n\n'''text output partial\nb\na\n'''\n", "the output differs"},
		"broken link":                   {"\n[x](nowhere.md)\n", "README.md:2: nowhere.md: there is no such file"},
		"link to what git ignores":      {"[x](ignored)\n", "there is no such file"},
		"broken image":                  {"![x](nowhere.png)\n", "README.md:1: nowhere.png: there is no such file"},
		"broken link in HTML":           {"<img src=\"nowhere.svg\">\n", "nowhere.svg: there is no such file"},
		"broken anchor":                 {"[x](#nothing)\n\n# Something\n", "README.md has no such heading"},
		"broken anchor elsewhere":       {"[x](other.md#one-2)\n", "other.md has no such heading"},
		"no such line":                  {"[x](code.go#L99)\n", "code.go has no line 99"},
		"drifted snippet":               {"'''go file=code.go\nfunc three() {}\n'''\n", "README.md:1: not in code.go: func three() {}"},
		"snippet in another order":      {"'''go file=code.go\nfunc two() {}\n// …\nfunc one() {}\n'''\n", "but not one after the other"},
		"snippet that leaves lines out": {"'''go file=code.go\npackage code\nfunc two() {}\n'''\n", "but not one after the other"},
		"snippet of no file":            {"'''go file=none.go\nx\n'''\n", "none.go cannot be read"},
		"code of no file":               {"'''yaml\na: 1\n'''\n", "README.md:1: a yaml block says neither file= nor sketch"},
		"unannotated":                   {"text\n\n'''sh\ntrue\n'''\n", "README.md:3: a sh block says neither run, background, cluster nor manual"},
		"unannotated console":           {"'''console\n$ true\n'''\n", "README.md:1: a console block says"},
		"unannotated PowerShell":        {"'''powershell\ntrue\n'''\n", "README.md:1: a powershell block says"},
		"unknown annotation":            {"'''sh runs\ntrue\n'''\n", "unknown annotation runs"},
		"no reason":                     {"'''sh manual\ntrue\n'''\n", `manual needs reason="…"`},
		"output of nothing":             {"'''text output\nx\n'''\n", "this output follows no command"},
		"failure":                       {"\n'''sh run\ntrue\nfalse\ntrue\n'''\n", "README.md:2: exit status 1 at line 4"},
		"no failure":                    {"'''sh run exit=2\ntrue\n'''\n", "exit status 0, not 2"},
		"another failure":               {"'''sh run exit=2\n(exit 3)\n'''\n", "exit status 3 at line 2, not 2"},
		"end of the shell":              {"'''sh run\nexit 0\n'''\n\n'''sh run\ntrue\n'''\n", "the block ended the shell"},
		"too long":                      {"no block ends\n\n'''sh run\necho begun; sleep 60\n'''\n", "not ended after 5s: the rest of the document was not run; it printed\n       begun"},
		"never ready":                   {"nothing is ready\n\n'''sh background ready=\"up\"\necho down; sleep 60\n'''\n", "never ready (\"up\"): after 1s"},
		"ends before it is ready":       {"'''sh background ready=\"up\"\necho down; exit 4\n'''\n", "it ended early: exit status 4"},
		"other background output":       {"no output arrives\n\n'''sh background ready=\"up\"\necho up; sleep 60\n'''\n\n'''text output\nUP\n'''\n", "- UP"},
		"log line that never comes":     {"no output arrives\n\n'''sh background ready=\"up\"\necho up; sleep 60\n'''\n\n'''text output background\nlogged\n'''\n", "- logged"},
		"never as shown":                {"no output arrives\n\n'''sh run eventually\ndate +%N\n'''\n\n'''text output\nx\n'''\n", "- x"},
		"empty picture":                 {"'''mermaid\n'''\n", "an empty picture"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, out := verifyDocument(t, test.text, files)
			if v.report.failed != 1 || !strings.Contains(out, test.want) {
				t.Errorf("got %d failures, want one that says\n%s\ngot\n%s", v.report.failed, test.want, out)
			}
			if v.report.summary() == nil {
				t.Error("the summary is no error")
			}
		})
	}
}

func TestWhatFollowsAStoppedBlockIsNotRun(t *testing.T) {
	v, out := verifyDocument(t, "'''sh run\nexit 0\n'''\n\n'''sh run\ntrue\n'''\n", nil)
	if v.report.skipped != 1 {
		t.Errorf("got %d skipped, want 1\n%s", v.report.skipped, out)
	}
}

func TestABackgroundSeesExportedVariables(t *testing.T) {
	v, out := verifyDocument(t, `
'''sh run
export BROKER=localhost:5672
COLOUR=blue
'''

'''sh background ready="at localhost:5672, colour none"
echo "at $BROKER, colour ${COLOUR:-none}"
sleep 60
'''
`, nil)
	if v.report.failed != 0 {
		t.Error(out)
	}
}

func TestEventually(t *testing.T) {
	v, out := verifyDocument(t, "'''sh run eventually\necho x >>n; wc -l <n\n'''\n\n'''text output\n3\n'''\n", nil)
	if v.report.failed != 0 {
		t.Error(out)
	}
}

func TestUpdateKeepsWhatIsElided(t *testing.T) {
	v, out := fixture(t, map[string]string{"README.md": `
'''sh run
echo begin; seq 9; echo end now
'''

'''text output
begin
…
8
9
end
'''

- '''sh run
  printf 'a\n\nb\n'
  '''

  '''text output
  a
  '''

'''sh run
echo took 12ms
'''

'''text output
took 7ms
'''
`})
	v.update = true
	if err := v.docs(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(v.root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := fence(`
'''sh run
echo begin; seq 9; echo end now
'''

'''text output
begin
…
8
9
end now
'''

- '''sh run
  printf 'a\n\nb\n'
  '''

  '''text output
  a

  b
  '''

'''sh run
echo took 12ms
'''

'''text output
took 7ms
'''
`)
	if string(got) != want || v.report.failed != 0 {
		t.Errorf("got\n%s\nwant\n%s\n%s", got, want, out)
	}
	v.update = false
	if err := v.docs(t.Context(), nil); err != nil || v.report.failed != 0 {
		t.Errorf("it does not hold after the update: %v\n%s", err, out)
	}
}

func TestCleanCopy(t *testing.T) {
	_, out := verifyDocument(t, "'''sh run\nls; git status --short\n'''\n\n'''text output\nREADME.md\nnew\n'''\n",
		map[string]string{"new": "", ".gitignore": "*.db\n", "left.db": ""})
	if !strings.Contains(out, "ok   README.md") {
		t.Error(out)
	}
}
