// Command llima-compile takes the vendor's command line: the same engine as
// llima, for those who have no llima.hcl.
package main

import (
	"os"

	"github.com/llima-build/llima/cmd/internal/cli"
)

func main() {
	os.Exit(cli.CompileMain(cli.System(), os.Args[1:]))
}
