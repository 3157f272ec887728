package main_test

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/planner"
)

// stopAt is llima that stops before a step of a build, $LLIMA_TEST_AT of the
// form "STEP ADDRESS": it makes a file "reached" there and goes on when there
// is one called "go". Its exit code goes into the file $LLIMA_TEST_CODE.
func stopAt() {
	env := cli.System()
	env.Step = func(step string, t *planner.Target) error {
		if step+" "+t.Addr.String() != os.Getenv("LLIMA_TEST_AT") {
			return nil
		}
		if err := os.WriteFile("reached", nil, 0o644); err != nil {
			return err
		}
		for {
			if _, err := os.Stat("go"); err == nil {
				return nil
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	code := cli.Main(env, os.Args[1:])
	if file := os.Getenv("LLIMA_TEST_CODE"); file != "" {
		if err := os.WriteFile(file, fmt.Appendln(nil, code), 0o644); err != nil {
			panic(err)
		}
	}
	os.Exit(code)
}

// condition knows "tmpfs": file systems of a chosen size can be mounted.
func condition(name string) (bool, error) {
	if name != "tmpfs" {
		return false, fmt.Errorf("unknown condition %s", name)
	}
	return exec.Command("unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt").Run() == nil, nil
}

// cmdWaitFor waits until there is a file that matches: waitfor PATTERN.
func cmdWaitFor(ts *testscript.TestScript, _ bool, args []string) {
	for range 3000 {
		if found, _ := filepath.Glob(ts.MkAbs(args[0])); len(found) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("%s did not appear", args[0])
}

// cmdEmptyDir holds that a folder holds nothing: emptydir DIR.
func cmdEmptyDir(ts *testscript.TestScript, _ bool, args []string) {
	entries, err := os.ReadDir(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(entries) > 0 {
		ts.Fatalf("%s holds %v", args[0], entries)
	}
}

// cmdSameNames compares the names of the files of two folders: samenames A B.
func cmdSameNames(ts *testscript.TestScript, _ bool, args []string) {
	a, b := slices.Sorted(maps.Keys(readTree(ts, args[0]))), slices.Sorted(maps.Keys(readTree(ts, args[1])))
	if len(a) == 0 || !slices.Equal(a, b) {
		ts.Fatalf("%s holds %d files, %s %d, or their names differ", args[0], len(a), args[1], len(b))
	}
}

// cmdFlipBit changes a bit of a byte of a file: flipbit FILE OFFSET BIT.
func cmdFlipBit(ts *testscript.TestScript, _ bool, args []string) {
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	bit, err := strconv.Atoi(args[2])
	ts.Check(err)
	b := ts.ReadFile(args[0])
	cmdSetBytes(ts, false, []string{args[0], args[1], fmt.Sprintf("%02x", b[off]^1<<bit)})
}
