package gguf_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/gguf"
	"github.com/llima-build/llima/formats/tokenizer"
)

func TestDecodeRefuses(t *testing.T) {
	one := []info{{"w", []uint64{32}, 0, 0}}
	with := func(t info) []byte { return file{tensors: []info{t}, data: make([]byte, 128)}.bytes() }
	keys := func(p ...pair) []byte { return file{pairs: p}.bytes() }
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "gguf: offset 0: 0 bytes, want at least 24"},
		{"git-LFS", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\n"), "gguf: offset 0: a git-LFS pointer"},
		{"other format", []byte("PK\x03\x04aaaabbbb"), `the file begins with "PK\x03\x04", want "GGUF"`},
		{"GGML", file{magic: "tjgg", version: 3}.bytes(), "an older GGML file"},
		{"version 1", file{magic: "GGUF", version: 1}.bytes(), "gguf: offset 4: version 1 is not supported, only 2 and 3; convert"},
		{"big-endian", file{magic: "GGUF", version: 3 << 24}.bytes(), "gguf: offset 4: a big-endian file (version 3), only little-endian ones"},
		{"version 4", file{magic: "GGUF", version: 4}.bytes(), "version 4 is not supported"},
		{"cut in the counts", file{}.bytes()[:12], "offset 8: want 8 bytes, the file has 4 more"},
		{"many tensors", file{counts: []uint64{1 << 40, 0}}.bytes(), "offset 8: 1099511627776 tensors and 0 keys cannot be in the 0 bytes"},
		{"many keys", file{counts: []uint64{0, math.MaxUint64}}.bytes(), "18446744073709551615 keys cannot be in"},
		{"very many keys", append(file{counts: []uint64{0, 1 << 17}}.bytes(), make([]byte, 2<<20)...), "0 tensors and 131072 keys, want at most 1048576 and 65536"},
		{"cut in a key", file{counts: []uint64{0, 2}, pairs: []pair{number("aaaaaaaaaaaaaaaaaaaa", 1)}}.bytes(), "want 8 bytes, the file has 0 more"},
		{"empty key", keys(number("", 1)), "a key of 0 bytes, want 1 to 65535"},
		{"long key", keys(number(strings.Repeat("k", 65536), 1)), "a key of 65536 bytes"},
		{"key is not UTF-8", keys(number("\xff", 1)), "offset 32: a key is not UTF-8"},
		{"key twice", keys(number("a.b", 1), number("a.b", 2)), `gguf: key "a.b": offset 43: the file has the key twice`},
		{"value type", keys(pair{"a", 13, make([]byte, 8)}), `key "a": offset 33: value type 13 is unknown`},
		{"bool", keys(pair{"a", 7, []byte{2}}), `BOOL of 2, want 0 or 1`},
		{"bool in an array", keys(array("a", 7, 2, []byte{1, 9})), `BOOL of 9, want 0 or 1`},
		{"long string", keys(pair{"a", 8, u64(4 << 30)}), `key "a": offset 45: want 4294967296 bytes, the file has 0 more; it is cut short`},
		{"string of 2^64-1", keys(pair{"a", 8, u64(math.MaxUint64)}), `the file has 0 more`},
		{"long array", keys(array("a", 4, 1<<30, nil)), `offset 41: an array of 1073741824 elements cannot be in the 0 bytes that follow`},
		{"array overflow", keys(array("a", 10, 1<<61, make([]byte, 64))), `an array of 2305843009213693952 elements`},
		{"array of strings", keys(array("a", 8, 2, append(str("x"), u64(1<<40)...))), `want 1099511627776 bytes`},
		{"nested array", keys(array("a", 9, 1, make([]byte, 24))), `an array of arrays is not supported`},
		{"array of unknown", keys(array("a", 99, 1, make([]byte, 24))), `value type 99 is unknown`},
		{"alignment type", keys(text("general.alignment", "32")), `key "general.alignment": offset 53: is STRING, want UINT32`},
		{"alignment 0", keys(number("general.alignment", 0)), `0, want a power of two`},
		{"alignment 48", keys(number("general.alignment", 48)), `48, want a power of two`},
		{"alignment 4", keys(number("general.alignment", 4)), `4, want a power of two from 8`},
		{"cut in a tensor", file{counts: []uint64{1, 0}, tensors: []info{{strings.Repeat("n", 60), []uint64{1}, 0, 0}}}.bytes()[:90], `offset 32: want 60 bytes, the file has 58 more; it is cut short or damaged`},
		{"nameless", with(info{"", []uint64{32}, 0, 0}), "a tensor's name of 0 bytes, want 1 to 64"},
		{"long name", with(info{strings.Repeat("n", 65), []uint64{32}, 0, 0}), "a tensor's name of 65 bytes"},
		{"name is not UTF-8", with(info{"\xc3", []uint64{32}, 0, 0}), "a tensor's name is not UTF-8"},
		{"no dimension", with(info{"w", nil, 0, 0}), `gguf: tensor "w": offset 24: 0 dimensions, want 1 to 4`},
		{"five dimensions", with(info{"w", []uint64{1, 1, 1, 1, 1}, 0, 0}), "5 dimensions"},
		{"dimension 0", with(info{"w", []uint64{4, 0}, 0, 0}), `tensor "w": offset 45: dimension 1 is 0`},
		{"dimension 2^63", with(info{"w", []uint64{1 << 63}, 0, 0}), "dimension 0 is 9223372036854775808"},
		{"elements overflow", with(info{"w", []uint64{1 << 32, 1 << 32}, 0, 0}), "shape [4294967296 4294967296] has too many elements"},
		{"bytes overflow", with(info{"w", []uint64{1 << 60}, 0, 0}), "too many"},
		{"unknown type", with(info{"w", []uint64{32}, 42, 0}), `tensor "w": offset 45: type 42 is unknown; quantize the model to a type that docs/sources.md lists`},
		{"withdrawn type", with(info{"w", []uint64{32}, 31, 0}), "type 31 (Q4_0_4_4) was withdrawn"},
		{"half a block", with(info{"w", []uint64{48}, 2, 0}), "a row of 48 elements is no multiple of the block of Q4_0, 32"},
		{"unaligned", with(info{"w", []uint64{4}, 0, 4}), "data at 4 is no multiple of the alignment, 32"},
		{"far", with(info{"w", []uint64{4}, 0, 1 << 63}), "data at 9223372036854775808, which no file reaches"},
		{"past the end", with(info{"w", []uint64{32}, 0, 32}), `tensor "w": offset 96: want 128 bytes, the file has 96 more; it is cut short`},
		{"far past the end", with(info{"w", []uint64{32}, 0, 1 << 40}), "the file has 0 more"},
		{"no data", file{tensors: one}.bytes(), "the file has 0 more"},
		{"twice", file{tensors: []info{one[0], one[0]}, data: make([]byte, 128)}.bytes(), `tensor "w": offset 57: the file has two tensors of that name`},
		{"overlap", file{tensors: []info{one[0], {"v", []uint64{32}, 0, 96}}, data: make([]byte, 256)}.bytes(), `tensor "v": offset 192: overlaps tensor "w", which ends at offset 224`},
		{"a part", keys(number("split.count", 2)), `key "split.count": offset 47: one part of 2 of a split model`},
		{"split count", keys(number("split.count", 100000)), `100000, want at most 99999`},
		{"split text", keys(text("split.count", "2")), `key "split.count": offset 47: is STRING, want an integer`},
	}
	for _, tt := range tests {
		m, err := gguf.Decode(tt.in)
		if m != nil && err == nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "gguf: ") {
			t.Errorf("%s: Decode() = %v, want %q", tt.name, err, tt.want)
		}
	}
}

// everything is a file with a value of each type.
func everything() file {
	return file{
		version: 2, magic: "GGUF", alignmentBytes: 64,
		pairs: []pair{
			number("general.alignment", 64), text("a.text", "hé\xff"), truth("a.true", true), truth("a.false", false),
			{"a.u8", 0, []byte{200}},
			{"a.i8", 1, []byte{200}},
			{"a.u16", 2, []byte{0, 0xff}},
			{"a.i16", 3, []byte{0, 0xff}},
			{"a.i32", 5, u32(math.MaxUint32)},
			float("a.f32", 0.5),
			{"a.u64", 10, u64(1 << 40)},
			{"a.i64", 11, u64(math.MaxUint64)},
			{"a.f64", 12, u64(math.Float64bits(0.1))},
			{"a.big", 10, u64(math.MaxUint64)},
			texts("a.texts", "", "b", "cd"), array("a.i32s", 5, 2, append(u32(7), u32(math.MaxUint32)...)), array("a.none", 8, 0, nil),
			array("a.f32s", 6, 2, append(u32(math.Float32bits(1)), u32(math.Float32bits(-2))...)), array("a.bools", 7, 2, []byte{1, 0}),
		},
		// The data are in another order than the descriptions, with a gap.
		tensors: []info{{"b.weight", []uint64{32, 3}, 8, 128}, {"a.weight", []uint64{4, 2}, 0, 0}},
		data:    slices.Concat([]byte{0, 0, 128, 63}, make([]byte, 124), make([]byte, 102)),
	}
}

func TestDecode(t *testing.T) {
	m, err := gguf.Decode(everything().bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.Tensors()[0].Name, m.Tensors()[0].Shape, m.Tensors()[1].Name, m.Tensors()[1].Shape, m.Tensors()[1].Type); got != "a.weight[2 4]b.weight[3 32] Q8_0" {
		t.Errorf("Tensors() = %s", got)
	}
	a, _ := m.Tensor("a.weight")
	if b, err := m.Bytes(a); err != nil || len(b) != 32 || !bytes.HasPrefix(b, []byte{0, 0, 128, 63}) || cap(b) != 32 {
		t.Errorf("Bytes(a) = %v, %v", b, err)
	}
	if a.Offset%64 != 0 || a.RowBytes() != 16 {
		t.Errorf("a lies at %d with rows of %d bytes", a.Offset, a.RowBytes())
	}
	a.Offset++
	if _, err := m.Bytes(a); err == nil {
		t.Error("Bytes takes a tensor that is not of the model")
	}
	meta := m.Metadata()
	if len(meta.Keys()) != 19 || meta.Keys()[1] != "a.text" {
		t.Errorf("Keys() = %q", meta.Keys())
	}
	for key, want := range map[string]int{"a.u8": 200, "a.i8": -56, "a.u16": 65280, "a.i16": -256, "a.i32": -1, "a.u64": 1 << 40, "a.i64": -1} {
		if got, ok, err := meta.Int(key); got != want || !ok || err != nil {
			t.Errorf("Int(%q) = %d, %v, %v, want %d", key, got, ok, err, want)
		}
	}
	f32, _, err32 := meta.Float("a.f32")
	f64, _, err64 := meta.Float("a.f64")
	fi, _, erri := meta.Float("a.i8")
	if f32 != 0.5 || f64 != 0.1 || fi != -56 || errors.Join(err32, err64, erri) != nil {
		t.Errorf("Float = %v, %v, %v", f32, f64, fi)
	}
	s, _, _ := meta.Text("a.text")
	list, _, _ := meta.Texts("a.texts")
	none, ok, _ := meta.Texts("a.none")
	ints, _, _ := meta.Ints("a.i32s")
	bools, _, _ := meta.Ints("a.bools")
	one, _, _ := meta.Ints("a.u8")
	floats, _, _ := meta.Floats("a.f32s")
	yes, _, _ := meta.Bool("a.true")
	no, isThere, _ := meta.Bool("a.false")
	got := fmt.Sprintf("%q %q %d %v %v %v %v %v %v %v %v", s, list, len(none), ok, ints, bools, one, floats, yes, no, isThere)
	if want := `"hé\xff" ["" "b" "cd"] 0 true [7 -1] [1 0] [200] [1 -2] true false true`; got != want {
		t.Errorf("values = %s, want %s", got, want)
	}
	if _, ok, err := meta.Int("absent"); ok || err != nil {
		t.Errorf("Int(absent) = %v, %v", ok, err)
	}
}

func TestMetadataRefuses(t *testing.T) {
	m, err := gguf.Decode(everything().bytes())
	if err != nil {
		t.Fatal(err)
	}
	meta := m.Metadata()
	for what, err := range map[string]error{
		`key "a.text": offset`:         third(meta.Int("a.text")),
		`is UINT64, want an integer`:   third(meta.Int("a.big")),
		`is STRING, want a number`:     third(meta.Float("a.text")),
		`is UINT8, want STRING`:        third(meta.Text("a.u8")),
		`is UINT8, want BOOL`:          third(meta.Bool("a.u8")),
		`want an array of STRING`:      third(meta.Texts("a.i32s")),
		`want an array of FLOAT32`:     third(meta.Floats("a.text")),
		`of STRING, want integers`:     third(meta.Ints("a.texts")),
		`is FLOAT32, want an integer`:  third(meta.Int("a.f32")),
		`is ARRAY of FLOAT32, want in`: third(meta.Ints("a.f32s")),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error = %v, want %q", err, what)
		}
	}
}

func second[A any](_ A, err error) error { return err }

func third[A, B any](_ A, _ B, err error) error { return err }

// TestClaims: a length that a file claims and does not have costs nothing.
func TestClaims(t *testing.T) {
	const claim = 4 << 30
	for name, f := range map[string]file{
		"string":           {pairs: []pair{{"a", 8, u64(claim)}}},
		"array":            {pairs: []pair{array("a", 0, claim, nil)}},
		"array of strings": {pairs: []pair{array("a", 8, claim, str("x"))}},
		"keys":             {counts: []uint64{0, claim}},
		"tensors":          {counts: []uint64{claim, 0}},
		"tensor":           {tensors: []info{{"w", []uint64{claim}, 8, 0}}},
		"key":              {pairs: []pair{{string(make([]byte, 300)), 4, nil}}, counts: []uint64{0, 20}},
	} {
		in := append(f.bytes(), make([]byte, 1000-len(f.bytes())%1000)...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := gguf.Decode(in)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 16<<10 {
			t.Errorf("%s: Decode() = %v, %d bytes allocated, want an error for less than 16 KiB", name, err, got)
		}
	}
}

// writeSplit writes a model of three files.
func writeSplit(tb testing.TB, change func(i int, f *file)) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := range 3 {
		f := file{
			pairs: []pair{
				{"split.no", 2, []byte{byte(i), 0}}, {"split.count", 2, []byte{3, 0}}, {"split.tensors.count", 5, u32(2)},
			},
			tensors: []info{{fmt.Sprintf("w%d", i), []uint64{8}, 0, 0}}, data: bytes.Repeat([]byte{byte(i)}, 32),
		}
		if i == 0 {
			f.pairs = append(f.pairs, text("general.architecture", "llama"))
			f.tensors, f.data = nil, nil
		}
		if change != nil {
			change(i, &f)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("m-%05d-of-00003.gguf", i+1)), f.bytes(), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return filepath.Join(dir, "m-00001-of-00003.gguf")
}

func TestSplit(t *testing.T) {
	m := open(t, writeSplit(t, nil))
	if len(m.Files()) != 3 || len(m.Tensors()) != 2 || m.Tensors()[1].File != "m-00003-of-00003.gguf" {
		t.Fatalf("files %q, tensors %v", m.Files(), m.Tensors())
	}
	if b := data(t, m, m.Tensors()[1]); !bytes.Equal(b, bytes.Repeat([]byte{2}, 32)) {
		t.Errorf("Bytes(w2) = %v", b)
	}
	if s, _, err := m.Metadata().Text("general.architecture"); s != "llama" || err != nil {
		t.Errorf("architecture = %q, %v", s, err)
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(i int, f *file)
		rename string
		want   string
	}{
		{"wrong order", func(i int, f *file) {
			if i == 2 {
				f.pairs[0].value = []byte{1, 0}
			}
		}, "", `m-00003-of-00003.gguf: key "split.no": offset 44: 1, want 2`},
		{"other count", func(i int, f *file) {
			if i == 1 {
				f.pairs[1].value = []byte{4, 0}
			}
		}, "", `key "split.count": offset 69: 4, want 3 as in the first file`},
		{"no number", func(i int, f *file) {
			if i == 1 {
				f.pairs = f.pairs[1:]
			}
		}, "", `key "split.no": offset 0: missing, want 1`},
		{"tensor lost", func(i int, f *file) {
			if i == 2 {
				f.tensors, f.data = nil, nil
			}
		}, "", `key "split.tensors.count": offset 102: 2, and the files hold 1; bring all of them`},
		{"tensor twice", func(i int, f *file) {
			if i > 0 {
				f.tensors[0].name = "w"
			}
		}, "", `tensor "w" is in both m-00002-of-00003.gguf and m-00003-of-00003.gguf`},
		{"broken part", func(i int, f *file) {
			if i == 1 {
				f.data = nil
			}
		}, "", `m-00002-of-00003.gguf: tensor "w1": offset`},
		{"second file", nil, "second", `this is not the first file of the model; name `},
		{"name", nil, "m.gguf", `one of 3 files, which are found by their names; call it NAME-00001-of-00003.gguf`},
		{"number in the name", nil, "m-00001-of-00004.gguf", `key "split.count": offset 69: 3, and the name says 00004`},
		{"absent", nil, "absent", `m-00002-of-00003.gguf: no such file or directory (part 2 of 3 of `},
	} {
		path := writeSplit(t, c.change)
		switch c.rename {
		case "":
		case "second":
			path = strings.Replace(path, "-00001", "-00002", 1)
		case "absent":
			if err := os.Remove(strings.Replace(path, "-00001", "-00002", 1)); err != nil {
				t.Fatal(err)
			}
		default:
			to := filepath.Join(filepath.Dir(path), c.rename)
			if err := os.Rename(path, to); err != nil {
				t.Fatal(err)
			}
			path = to
		}
		m, err := gguf.Open(path)
		if m != nil || err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "gguf: ") {
			t.Errorf("%s: Open() = %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := gguf.Open(filepath.Join(t.TempDir(), "x.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open(absent) = %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(everything().bytes())
	if b, err := os.ReadFile(filepath.Join("testdata", "ggml_types.gguf")); err == nil {
		f.Add(b[:3000])
	}
	for arch := range map[string]bool{"llama": true, "gemma3": true, "phi3": true, "lfm2": true} {
		f.Add(tinyFile(arch).bytes())
	}
	f.Add(littleFile().bytes())
	f.Add(littleFile(text("tokenizer.ggml.model", "gpt2"), text("tokenizer.ggml.pre", "llama-bpe"), texts("tokenizer.ggml.merges", "a a")).bytes())
	f.Add(file{pairs: []pair{texts("a", "b", "c")}, tensors: []info{{"w", []uint64{256}, 12, 0}}, data: make([]byte, 144)}.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := gguf.Decode(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "gguf: ") {
				t.Errorf("Decode: %v, want the package's name in front", err)
			}
			return
		}
		for _, info := range m.Tensors() {
			src := data(t, m, info)
			rows, cols := info.Rows()
			if len(src) != rows*info.RowBytes() {
				t.Errorf("%s: %d bytes for %d rows of %d", info.Name, len(src), rows, info.RowBytes())
			}
			w := make([]float32, rows*cols)
			if err := gguf.Dequantize(info.Type, w, src); err != nil {
				continue
			}
			if c, err := gguf.Carry(info.Type, src, rows, cols, nil); err == nil {
				for i := range rows {
					if bad := proof(c, i, w[i*cols:(i+1)*cols]); bad > 0 {
						t.Errorf("%s: row %d: %d weights differ", info.Name, i, bad)
					}
				}
			}
		}
		if v, err := m.Vocabulary(); err == nil {
			if b, err := v.TokenizerJSON(); err == nil {
				if tok, err := tokenizer.Load(b); err == nil {
					tok.Decode(tok.Encode("a<s> \u2581é", true), false)
				}
			}
		}
		for _, err := range []error{second(m.Config()), second(m.Sources()), second(m.Vocabulary()), second(m.TokenizerConfig())} {
			if err != nil && !strings.HasPrefix(err.Error(), "gguf: ") {
				t.Errorf("%v, want the package's name in front", err)
			}
		}
		meta := m.Metadata()
		for _, key := range meta.Keys() {
			for _, err := range []error{third(meta.Int(key)), third(meta.Texts(key)), third(meta.Ints(key)), third(meta.Floats(key)), third(meta.Text(key))} {
				if err != nil && !strings.HasPrefix(err.Error(), "gguf: key ") {
					t.Errorf("%q: %v", key, err)
				}
			}
		}
	})
}
