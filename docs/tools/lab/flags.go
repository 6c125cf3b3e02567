package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/layout"
)

// verb is one command of the tool: `lab NAME FLAGS ARGS`.
type verb struct {
	name    string
	args    string // the arguments beside the flags: [OPTIONAL], REPEATED…
	summary string // a line, in the list of verbs
	about   string // the rest of its help
	flags   flag.FlagSet
	run     func(ctx context.Context, l *lab, args []string) error
}

// errHelp is a request for a verb's help.
var errHelp = flag.ErrHelp

func findVerb(name string) (*verb, error) {
	names := []string{"help"}
	for _, v := range verbs() {
		if v.name == name {
			return &v, nil
		}
		names = append(names, v.name)
	}
	return nil, usageError("unknown command " + name + "; " + cli.OrNearest(name, names, "go tool lab help lists them"))
}

// parse sets the verb's flags, which may stand before and after the other arguments, and
// returns the other arguments.
func (v *verb) parse(args []string) ([]string, error) {
	v.flags.Init(v.name, flag.ContinueOnError)
	rest, err := cli.Parse(&v.flags, args)
	if err != nil {
		return nil, err
	}
	wanted := strings.Fields(v.args)
	for i, arg := range wanted {
		if i >= len(rest) && !strings.HasPrefix(arg, "[") {
			needs := "a " + arg
			switch {
			case strings.Contains(arg, "|"):
				needs = "one of " + strings.ReplaceAll(arg, "|", ", ")
			case strings.ContainsAny(arg[:1], "AEIOU"):
				needs = "an " + arg
			}
			return nil, usageError(fmt.Sprintf("%s needs %s: %s", v.name, needs, v.usage()))
		}
	}
	if len(rest) > len(wanted) && !strings.Contains(v.args, "…") {
		return nil, usageError(fmt.Sprintf("unexpected argument %s: %s", rest[len(wanted)], v.usage()))
	}
	return rest, nil
}

// usage is the verb's command line.
func (v *verb) usage() string {
	usage := "go tool lab " + v.name
	v.flags.VisitAll(func(f *flag.Flag) {
		argument, _ := flag.UnquoteUsage(f)
		usage += " [" + strings.TrimSpace(cli.Dashes(f.Name)+" "+argument) + "]"
	})
	return strings.TrimSpace(usage + " " + v.args)
}

// help prints the verb's help.
func (v *verb) help(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n%s\n", layout.Wrap(v.name+": "+v.summary, ""), layout.Wrap("Usage: "+v.usage(), "  "))
	if v.about != "" {
		fmt.Fprintf(w, "\n%s\n", layout.Reflow(v.about))
	}
	var names, texts []string
	width := 0
	v.flags.VisitAll(func(f *flag.Flag) {
		argument, text := flag.UnquoteUsage(f)
		name := strings.TrimSpace(cli.Dashes(f.Name) + " " + argument)
		names, texts, width = append(names, name), append(texts, text), max(width, len(name))
	})
	if len(names) > 0 {
		fmt.Fprintln(w, "\nFlags:")
	}
	for i, name := range names {
		fmt.Fprintln(w, entry(name, width, texts[i]))
	}
}

// entry is a line of a list: a name, and a text in the column that all texts begin in.
func entry(name string, width int, text string) string {
	line := fmt.Sprintf("  %-*s  %s", width, name, text)
	return layout.Wrap(line, strings.Repeat(" ", width+4))
}

// help lists the verbs, or prints the help of one.
func help(w io.Writer, args []string) error {
	if len(args) > 0 && args[0] != "help" {
		v, err := findVerb(args[0])
		if err != nil {
			return err
		}
		v.help(w)
		return nil
	}
	fmt.Fprintln(w, "lab builds, runs, tests and compares the stages.\nUsage: go tool lab COMMAND …")
	fmt.Fprintln(w)
	for _, v := range verbs() {
		fmt.Fprintln(w, entry(v.name, 8, v.summary))
	}
	fmt.Fprintln(w, "\nA stage is a chapter or final, and is named 06, 06-rabbitmq or final.\nThe help of one command: go tool lab help COMMAND")
	return nil
}
