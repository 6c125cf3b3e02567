// Package version knows which version of microcomm a program is.
package version

import (
	"fmt"
	"io"
	"runtime"
)

// version is set when a program is built:
// -ldflags "-X microcomm/final/internal/version.version=1.2.3".
var version = "development"

// Name returns the version, such as 1.2.3, and development for a program that was
// built without one.
func Name() string { return version }

// Asked writes the version of program to out if args, those of the command line
// without the program's name, are --version. It returns whether they are.
func Asked(program string, args []string, out io.Writer) bool {
	if len(args) != 1 || args[0] != "--version" && args[0] != "-version" {
		return false
	}
	fmt.Fprintf(out, "%s %s (%s)\n", program, Name(), runtime.Version())
	return true
}
