package main_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/llima-build/llima/cmd/internal/cli"
	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/formats/safetensors"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"llima-compile": func() { os.Exit(cli.CompileMain(cli.System(), os.Args[1:])) },
		"llima":         func() { os.Exit(cli.Main(cli.System(), os.Args[1:])) },
		"llima-at":      stopAt,
	})
}

var update = flag.Bool("update", false, "rewrite the files of scripts that cmp compares")

// TestScript runs the scripts, each in a folder of its own. $BARD names the
// checked-in model, with the results that outputs are compared with unless
// $GOLDEN names others, and $EXAMPLE the checked-in example.
func TestScript(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       *update,
		Condition:           condition,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROOT", root)
			env.Setenv("BARD", filepath.Join(root, "testdata/models/bard-3m"))
			env.Setenv("EXAMPLE", filepath.Join(root, "examples/bard/llima.hcl"))
			env.Setenv("NO_COLOR", "1")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"cptree":      cmdCopyTree,
			"sametree":    cmdSameTree,
			"golden":      cmdGolden,
			"logits":      cmdLogits,
			"samelogits":  cmdSameLogits,
			"figure":      cmdFigure,
			"samefigures": cmdSameFigures,
			"setbytes":    cmdSetBytes,
			"ids":         cmdIDs,
			"asplanned":   cmdAsPlanned,
			"exits":       cmdExits,
			"mask":        cmdMask,
			"header":      cmdHeader,
			"flipbit":     cmdFlipBit,
			"waitfor":     cmdWaitFor,
			"emptydir":    cmdEmptyDir,
			"samenames":   cmdSameNames,
		},
	})
}

// cmdCopyTree copies a folder: cptree SRC DST.
func cmdCopyTree(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: cptree SRC DST")
	}
	ts.Check(os.CopyFS(ts.MkAbs(args[1]), os.DirFS(ts.MkAbs(args[0]))))
}

// cmdSameTree compares the files of two folders byte for byte: [!] sametree A B.
func cmdSameTree(ts *testscript.TestScript, neg bool, args []string) {
	a, b := readTree(ts, args[0]), readTree(ts, args[1])
	var diff []string
	for name, data := range a {
		if other, ok := b[name]; !ok || !bytes.Equal(data, other) {
			diff = append(diff, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			diff = append(diff, name)
		}
	}
	slices.Sort(diff)
	if len(a) == 0 {
		ts.Fatalf("%s holds no files", args[0])
	}
	if (len(diff) > 0) != neg {
		ts.Fatalf("%d of %d files differ: %v", len(diff), len(a), diff)
	}
}

func readTree(ts *testscript.TestScript, dir string) map[string][]byte {
	out := map[string][]byte{}
	root := ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		out[rel], err = os.ReadFile(path)
		return err
	}))
	return out
}

// goldenCase is one stored run of the reference implementation.
type goldenCase struct {
	ids, greedy []int64
	logits      []float32 // the last rows
	rows, width int
}

// goldenDir is the folder of results to compare with.
func goldenDir(ts *testscript.TestScript) string {
	if dir := ts.Getenv("GOLDEN"); dir != "" {
		return dir
	}
	return filepath.Join(ts.Getenv("BARD"), "golden")
}

func loadGolden(ts *testscript.TestScript, name string) goldenCase {
	f, err := safetensors.Open(filepath.Join(goldenDir(ts), name+".safetensors"))
	ts.Check(err)
	defer func() { ts.Check(f.Close()) }()
	var g goldenCase
	for _, e := range f.Tensors() {
		b := f.Bytes(e)
		switch e.Name {
		case "input_ids", "greedy_ids":
			ids := make([]int64, len(b)/8)
			for i := range ids {
				ids[i] = int64(binary.LittleEndian.Uint64(b[8*i:]))
			}
			if e.Name == "input_ids" {
				g.ids = ids
			} else {
				g.greedy = ids
			}
		case "logits", "logits_last64":
			g.rows, g.width = e.Shape[0], e.Shape[1]
			g.logits = make([]float32, len(b)/4)
			for i := range g.logits {
				g.logits[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			}
		}
	}
	return g
}

type runOutput struct {
	PromptIDs []int64 `json:"prompt_ids"`
	IDs       []int64 `json:"ids"`
	Text      string  `json:"text"`
	Reason    string  `json:"reason"`
}

func readRun(ts *testscript.TestScript, file string) runOutput {
	var r runOutput
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(file)), &r))
	return r
}

// cmdGolden compares what run --json printed with transformers' greedy ids,
// prompt ids and text: golden CASE FILE.
func cmdGolden(ts *testscript.TestScript, neg bool, args []string) {
	g, r := loadGolden(ts, args[0]), readRun(ts, args[1])
	same := slices.Equal(r.IDs, g.greedy) && slices.Equal(r.PromptIDs, g.ids)
	if same == neg {
		ts.Fatalf("%s: ids %v, want %v (prompt %v, want %v)", args[0], r.IDs, g.greedy, r.PromptIDs, g.ids)
	}
	var text map[string]struct {
		Greedy string `json:"greedy_text"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(goldenDir(ts), "golden.json"))), &text))
	if !neg && r.Text != text[args[0]].Greedy {
		ts.Fatalf("%s: text %q, want %q", args[0], r.Text, text[args[0]].Greedy)
	}
}

// cmdLogits compares an .npy of logits with transformers': logits CASE FILE
// MEANBOUND MAXBOUND. Rows of the file beyond the prompt are ignored.
func cmdLogits(ts *testscript.TestScript, _ bool, args []string) {
	g := loadGolden(ts, args[0])
	b := []byte(ts.ReadFile(args[1]))
	rows, err := npy.Read(b)
	ts.Check(err)
	got := rows.F32()
	if len(rows.Shape) != 2 || rows.Shape[1] != g.width || rows.Shape[0] < len(g.ids) {
		ts.Fatalf("%s: shape %v, want at least [%d, %d]", args[1], rows.Shape, len(g.ids), g.width)
	}
	first := len(g.ids) - g.rows
	var sum, most float64
	for i, want := range g.logits {
		d := math.Abs(float64(got[first*g.width+i]) - float64(want))
		sum += d
		most = max(most, d)
	}
	mean := sum / float64(len(g.logits))
	ts.Logf("%s: mean |Δlogit| %.5f, max %.4f over %d rows", args[0], mean, most, g.rows)
	meanBound, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	maxBound, err := strconv.ParseFloat(args[3], 64)
	ts.Check(err)
	if !(mean <= meanBound && most <= maxBound) {
		ts.Fatalf("%s: mean |Δlogit| %.5f (bound %g), max %.4f (bound %g)", args[0], mean, meanBound, most, maxBound)
	}
}

// cmdSameLogits compares two .npy files of logits: samelogits A B BOUND.
func cmdSameLogits(ts *testscript.TestScript, neg bool, args []string) {
	a, err := npy.Read([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	b, err := npy.Read([]byte(ts.ReadFile(args[1])))
	ts.Check(err)
	bound, err := strconv.ParseFloat(args[2], 64)
	ts.Check(err)
	x, y := a.F32(), b.F32()
	if !slices.Equal(a.Shape, b.Shape) || len(x) == 0 {
		ts.Fatalf("shapes %v and %v", a.Shape, b.Shape)
	}
	var most float64
	for i := range x {
		most = max(most, math.Abs(float64(x[i])-float64(y[i])))
	}
	if (most <= bound) == neg {
		ts.Fatalf("logits differ by %g, bound %g", most, bound)
	}
}

// cmdSetBytes overwrites bytes of a file in place: setbytes FILE OFFSET HEX,
// a negative offset counting from the end. It keeps the modification time.
func cmdSetBytes(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	st, err := os.Stat(path)
	ts.Check(err)
	off, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	if off < 0 {
		off += st.Size()
	}
	var data []byte
	_, err = fmt.Sscanf(args[2], "%x", &data)
	ts.Check(err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrPermission) {
		ts.Check(os.Chmod(path, 0o644))
		f, err = os.OpenFile(path, os.O_WRONLY, 0)
	}
	ts.Check(err)
	_, err = f.WriteAt(data, off)
	ts.Check(err)
	ts.Check(f.Close())
	ts.Check(os.Chtimes(path, st.ModTime(), st.ModTime()))
}

// cmdMask copies what the last command wrote to standard error, with $WORK for
// the script's folder: mask FILE.
func cmdMask(ts *testscript.TestScript, _ bool, args []string) {
	text := strings.ReplaceAll(ts.ReadFile("stderr"), ts.Getenv("WORK"), "$WORK")
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// cmdHeader replaces text in the header of a safetensors file, the tensors'
// bytes staying as they are: header FILE OLD NEW.
func cmdHeader(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	end := 8 + binary.LittleEndian.Uint64(b)
	text := strings.TrimRight(string(b[8:end]), " ")
	if strings.Count(text, args[1]) != 1 {
		ts.Fatalf("%s has %q %d times, want once", args[0], args[1], strings.Count(text, args[1]))
	}
	text = strings.Replace(text, args[1], args[2], 1)
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	ts.Check(os.WriteFile(path, slices.Concat(out, []byte(text), b[end:]), 0o644))
}

// cmdIDs sets an environment variable to the prompt or greedy ids of a golden
// case, comma-separated: ids VAR CASE prompt|greedy.
func cmdIDs(ts *testscript.TestScript, _ bool, args []string) {
	g := loadGolden(ts, args[1])
	list := g.ids
	if args[2] == "greedy" {
		list = g.greedy
	}
	var s []string
	for _, id := range list {
		s = append(s, strconv.FormatInt(id, 10))
	}
	ts.Setenv(args[0], strings.Join(s, ","))
}

// cmdAsPlanned compares the counts of plan --json with what a build says that
// it did: asplanned PLAN.json STDERR. What may run is counted either way.
func cmdAsPlanned(ts *testscript.TestScript, _ bool, args []string) {
	var plan struct{ Counts map[string]int }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &plan))
	said := ts.ReadFile(args[1])
	done := map[string]int{}
	for line := range strings.Lines(said) {
		_, counts, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok || !strings.HasPrefix(line, "built ") && !strings.HasPrefix(line, "nothing to do") {
			continue
		}
		for count := range strings.SplitSeq(counts, ", ") {
			var n int
			var what string
			if _, err := fmt.Sscanf(count, "%d %s", &n, &what); err == nil {
				done[what] = n
			}
		}
		if strings.HasPrefix(line, "nothing to do") {
			done = map[string]int{"fresh": done["targets"]}
		}
	}
	c, sum := plan.Counts, done["ran"]+done["restored"]+done["fresh"]
	if sum == 0 || sum != c["run"]+c["may_run"]+c["restore"]+c["fresh"] {
		ts.Fatalf("the plan counts %v, the build says %v", c, done)
	}
	may := c["may_run"]
	for _, k := range []struct{ planned, done string }{{"run", "ran"}, {"restore", "restored"}, {"fresh", "fresh"}} {
		if n := done[k.done]; n < c[k.planned] || n > c[k.planned]+may {
			ts.Fatalf("%s: the plan counts %v, the build says %v", k.done, c, done)
		}
	}
}

// cmdExits runs a program and compares its exit code: exits CODE PROGRAM ARG….
func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s: exit code %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}
