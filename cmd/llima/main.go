// Command llima plans, builds, runs and inspects compiled language models.
package main

import (
	"os"

	"github.com/llima-build/llima/cmd/internal/cli"
)

func main() {
	os.Exit(cli.Main(cli.System(), os.Args[1:]))
}
