package mpk_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/modalix/mpk"
)

func file(name, data string) mpk.File {
	return mpk.File{Name: name, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(data)), nil
	}}
}

func manifest() mpk.Manifest {
	return mpk.NewManifest("layer_0", "1.0", []mpk.Program{
		{File: "group_pre_0.elf", Quads: 1, Symbols: []mpk.Buffer{{"in.hidden", 1024}, {"out.q", 512}, {"kv.k", 64}}},
		{File: "group_post_0.elf", Quads: 1, Symbols: []mpk.Buffer{{"in.attention", 512}, {"in.hidden", 1024}, {"out.hidden_out", 1024}}},
	})
}

func archive(tb testing.TB) []byte {
	tb.Helper()
	var b bytes.Buffer
	if err := mpk.Write(&b, []mpk.File{file("group_pre_0.elf", "pre"), file("group_post_0.elf", "post")}, manifest()); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// TestRoundTrip reads what Write wrote, and checks the fixed gzip header.
func TestRoundTrip(t *testing.T) {
	b := archive(t)
	if !bytes.Equal(b, archive(t)) {
		t.Error("two archives of equal files differ")
	}
	want := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
	if got := b[:len(want)]; !bytes.Equal(got[:8], want[:8]) || got[9] != want[9] {
		t.Errorf("gzip header = % x, want % x", got, want)
	}
	var names []string
	m, err := mpk.Read(bytes.NewReader(b), mpk.DefaultLimits(), func(name string, size int64, body io.Reader) error {
		data, err := io.ReadAll(body)
		if int64(len(data)) != size {
			t.Errorf("%s has %d bytes, want %d", name, len(data), size)
		}
		names = append(names, name+"="+string(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"group_post_0.elf=post", "group_pre_0.elf=pre"}; !slices.Equal(names, want) {
		t.Errorf("Read visits %q, want %q", names, want)
	}
	if len(m.Plugins) != 2 || len(m.Plugins[1].InputNodes) != 2 || len(m.InputNodes) != 2 || m.Plugins[0].Resources.Executable != "group_pre_0.elf" {
		t.Errorf("Read = %+v", m)
	}
}

// TestTarLists checks that an independent reader accepts the archive.
func TestTarLists(t *testing.T) {
	tarPath, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("tar is not installed")
	}
	path := filepath.Join(t.TempDir(), "layer_0.tar.gz")
	if err := os.WriteFile(path, archive(t), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tarPath, "tzf", path).CombinedOutput()
	if want := "group_post_0.elf\ngroup_pre_0.elf\nmpk.json\n"; err != nil || string(out) != want {
		t.Errorf("tar tzf = %q, %v, want %q", out, err, want)
	}
}

// member is an entry of a hand-made archive.
type member struct {
	name, data string
	kind       byte
}

func handMade(tb testing.TB, members []member) []byte {
	tb.Helper()
	var b bytes.Buffer
	zip := gzip.NewWriter(&b)
	out := tar.NewWriter(zip)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Size: int64(len(m.data)), Mode: 0o644}
		if m.kind == tar.TypeSymlink || m.kind == tar.TypeLink {
			h.Linkname, h.Size = "target", 0
		}
		if err := out.WriteHeader(h); err != nil {
			tb.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := out.Write([]byte(m.data)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := out.Close(); err != nil {
		tb.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// TestReadRefuses has one archive for every rule, and every truncation.
func TestReadRefuses(t *testing.T) {
	json := member{mpk.ManifestName, `{"name":"x"}`, tar.TypeReg}
	small := mpk.Limits{Members: 3, FileBytes: 64, Bytes: 100}
	for _, c := range []struct {
		name    string
		members []member
		want    string
	}{
		{"symlink", []member{json, {"a", "", tar.TypeSymlink}}, "regular file"},
		{"hard link", []member{json, {"a", "", tar.TypeLink}}, "regular file"},
		{"folder", []member{json, {"a/", "", tar.TypeDir}}, "regular file"},
		{"duplicate", []member{json, {"a", "1", tar.TypeReg}, {"a", "2", tar.TypeReg}}, "stands twice"},
		{"absolute", []member{json, {"/a", "1", tar.TypeReg}}, "clean relative path"},
		{"parent", []member{json, {"../a", "1", tar.TypeReg}}, "clean relative path"},
		{"unclean", []member{json, {"a//b", "1", tar.TypeReg}}, "clean relative path"},
		{"large file", []member{json, {"a", strings.Repeat("x", 65), tar.TypeReg}}, "exceed the limit"},
		{"large sum", []member{json, {"a", strings.Repeat("x", 60), tar.TypeReg}, {"b", strings.Repeat("x", 60), tar.TypeReg}}, "exceed the limit"},
		{"many files", []member{json, {"a", "", tar.TypeReg}, {"b", "", tar.TypeReg}, {"c", "", tar.TypeReg}}, "more than 3 files"},
		{"no manifest", []member{{"a", "1", tar.TypeReg}}, "is missing"},
		{"duplicate key", []member{{mpk.ManifestName, `{"name":"x","Name":"y"}`, tar.TypeReg}}, "stands twice"},
		{"nested duplicate key", []member{{mpk.ManifestName, `{"plugins":[{"a":{},"a":1}]}`, tar.TypeReg}}, "stands twice"},
		{"bad json", []member{{mpk.ManifestName, `{"name":`, tar.TypeReg}}, "the JSON ends too early"},
		{"unknown executable", []member{{mpk.ManifestName, `{"plugins":[{"name":"MLA_0"}]}`, tar.TypeReg}}, "not in the archive"},
	} {
		_, err := mpk.Read(bytes.NewReader(handMade(t, c.members)), small, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Read = %v, want an error with %q", c.name, err, c.want)
		}
	}
	whole := archive(t)
	for n := range whole {
		if _, err := mpk.Read(bytes.NewReader(whole[:n]), mpk.DefaultLimits(), nil); err == nil {
			t.Errorf("Read of %d of %d bytes = nil, want an error", n, len(whole))
		}
	}
}

// TestWriteRefuses checks that Write makes nothing that Read would refuse.
func TestWriteRefuses(t *testing.T) {
	short := file("a", "12")
	short.Size = 3
	for name, files := range map[string][]mpk.File{
		"duplicate": {file("a", "1"), file("a", "1")},
		"path":      {file("../a", "1")},
		"manifest":  {file(mpk.ManifestName, "{}")},
		"short":     {short},
	} {
		if err := mpk.Write(io.Discard, files, mpk.Manifest{}); err == nil {
			t.Errorf("%s: Write = nil, want an error", name)
		}
	}
}

// FuzzRead checks that Read keeps to its limits on any bytes.
func FuzzRead(f *testing.F) {
	f.Add(archive(f))
	f.Add(handMade(f, []member{{mpk.ManifestName, `{"name":"x","plugins":[]}`, tar.TypeReg}}))
	limits := mpk.Limits{Members: 16, FileBytes: 1 << 16, Bytes: 1 << 18}
	f.Fuzz(func(t *testing.T, b []byte) {
		total := int64(0)
		_, err := mpk.Read(bytes.NewReader(b), limits, func(_ string, _ int64, body io.Reader) error {
			n, err := io.Copy(io.Discard, body)
			total += n
			return err
		})
		if total > limits.Bytes {
			t.Errorf("Read gave %d bytes, %v, limit %d", total, err, limits.Bytes)
		}
	})
}
