package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/llima-build/llima/hcl/format"
	"github.com/llima-build/llima/hcl/load"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/internal/diag"
)

// maxFormatBytes bounds what fmt reads; the parser refuses less than that.
const maxFormatBytes = 1 << 20

func newFmt(env Env) *cobra.Command {
	f := formatter{env: env, sources: map[string][]byte{}}
	var dir string
	cmd := &cobra.Command{
		Use:   "fmt [FILE|FOLDER|-]...",
		Short: "Lay out configuration files",
		Long: `Rewrites files in the one canonical layout, and prints the names of those that
it changed. Without arguments these are the .hcl files beside the llima.hcl that
is found from here upward; a folder stands for those in it, and - for standard
input, whose layout goes to standard output.

A file with syntax errors stays as it is. Comments and meaning never change.`,
		Example: `  llima fmt
  llima fmt --check --diff
  llima fmt - < draft.hcl`,
		RunE: func(_ *cobra.Command, args []string) error {
			if slices.Contains(args, "-") && len(args) > 1 {
				return usageError{errors.New("fmt: - stands alone")}
			}
			if slices.Contains(args, "-") {
				return f.stdin()
			}
			files, err := f.files(dir, args)
			if err != nil {
				return err
			}
			for _, name := range files {
				if err := f.file(name); err != nil {
					return err
				}
			}
			return f.result()
		},
	}
	fl := cmd.Flags()
	fl.StringVarP(&dir, "chdir", "C", ".", "look for llima.hcl from this folder upward")
	fl.BoolVar(&f.check, "check", false, "change nothing; exit with 3 if a file would change")
	fl.BoolVar(&f.diff, "diff", false, "print what changes instead of names")
	fl.BoolVarP(&f.recursive, "recursive", "r", false, "look into folders of folders too")
	return cmd
}

// formatter lays out files one after the other.
type formatter struct {
	env                    Env
	check, diff, recursive bool

	changed bool
	list    diag.List
	sources map[string][]byte
}

// files lists what arguments stand for, sorted within folders.
func (f *formatter) files(dir string, args []string) ([]string, error) {
	if len(args) == 0 {
		file, err := load.Find(dir)
		if list, ok := errors.AsType[diag.List](err); ok {
			return nil, diagError{list, nil}
		} else if err != nil {
			return nil, usageError{err}
		}
		args = []string{filepath.Dir(file)}
	} else if dir != "." {
		args = slices.Clone(args)
		for i, name := range args {
			if !filepath.IsAbs(name) {
				args[i] = filepath.Join(dir, name)
			}
		}
	}
	var out []string
	for _, name := range args {
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usageError{fmt.Errorf("fmt: there is no file or folder %s", name)}
		} else if err != nil {
			return nil, usageError{err}
		}
		if !info.IsDir() {
			out = append(out, filepath.Clean(name))
			continue
		}
		found, err := f.folder(name)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// folder lists the configuration files of a folder. The lock file is written
// by llima itself.
func (f *formatter) folder(root string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != root && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
		case d.IsDir():
			if path != root && !f.recursive {
				return fs.SkipDir
			}
		case filepath.Ext(path) == ".hcl" && d.Name() != "llima.lock.hcl":
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

func (f *formatter) stdin() error {
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(f.env.Stdin, maxFormatBytes)); err != nil {
		return err
	}
	src, name := b.Bytes(), "<stdin>"
	out, list := format.Source(name, src)
	if list.HasErrors() {
		return diagError{list, map[string][]byte{name: src}}
	}
	f.changed = !bytes.Equal(src, out)
	switch {
	case f.diff:
		f.print(name, src, out)
	case !f.check:
		if _, err := f.env.Stdout.Write(out); err != nil {
			return err
		}
	}
	return f.result()
}

func (f *formatter) file(name string) error {
	src, err := readBounded(name)
	if err != nil {
		return err
	}
	shown := filepath.ToSlash(name)
	out, list := format.Source(shown, src)
	if list.HasErrors() {
		f.list = append(f.list, list...)
		f.sources[shown] = src
		return nil
	}
	if bytes.Equal(src, out) {
		return nil
	}
	f.changed = true
	if f.diff {
		f.print(shown, src, out)
	} else {
		fmt.Fprintln(f.env.Stdout, shown)
	}
	if f.check {
		return nil
	}
	return replaceFile(name, out)
}

func readBounded(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read from
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(file, maxFormatBytes))
	return b.Bytes(), err
}

// replaceFile puts a whole file where name leads, links followed, so that
// readers see the old one or the new one.
func replaceFile(name string, data []byte) error {
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	return atomicio.WriteFile(real, data, info.Mode().Perm())
}

func (f *formatter) print(name string, src, out []byte) {
	_, _ = f.env.Stdout.Write(diff.Diff(name+" (as it is)", src, name+" (formatted)", out))
}

func (f *formatter) result() error {
	switch {
	case f.list.HasErrors():
		return diagError{f.list.Sorted(), f.sources}
	case f.check && f.changed:
		return exitError{exitUnformatted}
	}
	return nil
}
