package modalix_test

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestIRGolden holds the intermediate form of every kind of part.
func TestIRGolden(t *testing.T) {
	m := openModel(t)
	for _, v := range variants(m.cfg, 128) {
		f := precisions[3]
		if v.window == 0 && strings.HasSuffix(v.name, ".pre") {
			f = precisions[0]
		}
		t.Run(v.name, func(t *testing.T) {
			got, err := modalix.DumpIR(m.graph(t, v, f.options), modalix.Options{Name: v.name})
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", "ir", v.name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("DumpIR(%s) =\n%swant\n%s", v.name, got, want)
			}
		})
	}
}

// TestReadelf checks that an independent reader accepts the objects and that
// equal inputs give equal bytes.
func TestReadelf(t *testing.T) {
	readelf, err := exec.LookPath("readelf")
	if err != nil {
		t.Skip("readelf is not installed")
	}
	m := openModel(t)
	for _, v := range variants(m.cfg, 128) {
		g := m.graph(t, v, precisions[3].options)
		var elf, again bytes.Buffer
		for _, w := range []*bytes.Buffer{&elf, &again} {
			if err := modalix.CompilePart(g, m.data, modalix.Options{Name: v.name}, w); err != nil {
				t.Fatalf("%s: CompilePart = %v", v.name, err)
			}
		}
		if !bytes.Equal(elf.Bytes(), again.Bytes()) {
			t.Errorf("%s: two compilations differ", v.name)
		}
		path := filepath.Join(t.TempDir(), "part.elf")
		if err := os.WriteFile(path, elf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(readelf, "-a", "-W", path).CombinedOutput()
		text := string(out)
		if err != nil || strings.Contains(strings.ToLower(text), "warning") || strings.Contains(text, "Error") {
			t.Errorf("%s: readelf: %v\n%s", v.name, err, text)
		}
		for _, want := range []string{".text.q0", ".symtab", "LLIMA"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: readelf lists no %s", v.name, want)
			}
		}
	}
}
