package safetensors_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
)

// file builds a file from a header and its data, legal or not.
func file(header string, dataBytes int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, dataBytes)...)
}

// entry is a header with one tensor "x" and the given description.
func entry(description string) string { return `{"x":{` + description + `}}` }

func TestDecodeRefuses(t *testing.T) {
	const a = `"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}`
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "safetensors: offset 0: 0 bytes, want at least 8 for the length of the header"},
		{"seven bytes", make([]byte, 7), "safetensors: offset 0: 7 bytes, want at least 8"},
		{"git-LFS", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"), "safetensors: offset 0: a git-LFS pointer instead of weights; run `git lfs pull` in"},
		{"huge header", bytes.Repeat([]byte{0xff}, 16), "safetensors: offset 0: header of 18446744073709551615 bytes, the limit is 100000000"},
		{"header over the limit", binary.LittleEndian.AppendUint64(nil, 100_000_001), "header of 100000001 bytes, the limit is"},
		{"header past the end", binary.LittleEndian.AppendUint64(nil, 100_000_000), "header of 100000000 bytes, the file has 0 more"},
		{"no header", file("", 0), "safetensors: offset 8: the header does not begin with {"},
		{"space first", file(" {}", 0), "offset 8: the header does not begin with {"},
		{"array", file("[]", 0), "the header does not begin with {"},
		{"newline at the end", file("{}\n", 0), "safetensors: offset 11: the header ends neither with }"},
		{"NUL at the end", file("{}\x00", 0), "the header ends neither with }"},
		{"not UTF-8", file("{\"\xff\":{}}", 0), "safetensors: offset 10: the header is not UTF-8"},
		{"not JSON", file(`{"x":}`, 0), "safetensors: offset 14: the header is not JSON: invalid character"},
		{"two objects", file(`{}{}`, 0), "the header is not JSON"},
		{"comma", file(`{`+a+`,}`, 4), "the header is not JSON"},
		{"deep", file(strings.Repeat(`{"a":`, 20000)+strings.Repeat("}", 20000), 0), "the header is not JSON"},

		{"name twice", file(`{`+a+`,`+a+`}`, 4), `the header has key "a" twice`},
		{"name twice by escape", file(`{`+a+`,`+strings.Replace(a, "a", `\u0061`, 1)+`}`, 4), `the header has key "a" twice`},
		{"metadata twice", file(`{"__metadata__":{},"__metadata__":{}}`, 0), `the header has key "__metadata__" twice`},
		{"metadata key twice", file(`{"__metadata__":{"k":"","k":""}}`, 0), `__metadata__ has key "k" twice`},
		{"metadata number", file(`{"__metadata__":{"k":1}}`, 0), "safetensors: offset 30: k is not a string"},
		{"metadata null", file(`{"__metadata__":null}`, 0), "__metadata__ is not an object"},
		{"tensor is a number", file(`{"x":1}`, 0), `safetensors: tensor "x": offset 14: the tensor is not an object`},
		{"tensor key twice", file(entry(`"dtype":"U8","dtype":"U8","data_offsets":[0,0]`), 0), `the tensor has key "dtype" twice`},
		{"unknown tensor key", file(entry(`"type":"U8"`), 0), `unknown key "type"`},
		{"key in capitals", file(entry(`"DType":"U8"`), 0), `unknown key "DType"`},
		{"no dtype", file(entry(`"shape":[0],"data_offsets":[0,0]`), 0), "want dtype, shape and data_offsets"},
		{"no shape", file(entry(`"dtype":"U8","data_offsets":[0,1]`), 1), "want dtype, shape and data_offsets"},
		{"no offsets", file(entry(`"dtype":"U8","shape":[0]`), 0), "want dtype, shape and data_offsets"},

		{"unknown dtype", file(entry(`"dtype":"F12"`), 0), `safetensors: tensor "x": offset 27: dtype "F12" is not one of F32, F16, BF16`},
		{"dtype in lower case", file(entry(`"dtype":"f32"`), 0), `dtype "f32" is not one of`},
		{"dtype number", file(entry(`"dtype":1`), 0), "dtype is not a string"},
		{"shape number", file(entry(`"shape":4`), 0), "shape is not an array"},
		{"shape of strings", file(entry(`"shape":["4"]`), 0), "shape has an element that is not a number"},
		{"negative shape", file(entry(`"shape":[-1]`), 0), "shape: -1 is not an unsigned 64-bit integer"},
		{"fraction", file(entry(`"shape":[4.0]`), 0), "shape: 4.0 is not an unsigned"},
		{"exponent", file(entry(`"shape":[1e1]`), 0), "shape: 1e1 is not an unsigned"},
		{"dimension past int64", file(entry(`"shape":[9223372036854775808]`), 0), "shape: dimension 9223372036854775808 is too large"},
		{"dimension past uint64", file(entry(`"shape":[18446744073709551616]`), 0), "shape: 18446744073709551616 is not an unsigned"},
		{"too many elements", file(entry(`"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]`), 0), "too many elements"},
		{"too many bytes", file(entry(`"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]`), 0), "too many bytes"},

		{"one offset", file(entry(`"data_offsets":[0]`), 0), "data_offsets has 1 numbers, want 2"},
		{"three offsets", file(entry(`"data_offsets":[0,1,2]`), 0), "data_offsets has 3 numbers, want 2"},
		{"offsets backwards", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[1,0]`), 1), "data_offsets [1, 0) are not a range"},
		{"offset past int64", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[0,18446744073709551615]`), 1), "are not a range"},
		{"short span", file(entry(`"dtype":"F32","shape":[2,3],"data_offsets":[0,23]`), 23), "data_offsets [0, 23) hold 23 bytes, want 24 for [2 3] of F32"},
		{"long span", file(entry(`"dtype":"F32","shape":[],"data_offsets":[0,5]`), 5), "hold 5 bytes, want 4 for [] of F32"},

		{"hole at the start", file(entry(`"dtype":"U8","shape":[1],"data_offsets":[1,2]`), 2), `tensor "x": offset 61: a hole of 1 bytes before the tensor`},
		{"hole", file(`{`+a+`,"b":{"dtype":"U8","shape":[1],"data_offsets":[5,6]}}`, 6), `tensor "b": offset 117: a hole of 1 bytes`},
		{"overlap", file(`{`+a+`,"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}}`, 5), `tensor "b": offset 116: overlaps tensor "a", which ends at offset 117`},
		{"same bytes", file(`{`+a+`,`+strings.Replace(a, "a", "b", 1)+`}`, 4), `overlaps tensor "a"`},
		{"past the end", file(`{`+a+`}`, 3), `safetensors: tensor "a": offset 61: want 4 bytes, the file has 3 more`},
		{"terabytes", file(entry(`"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]`), 0), "want 1099511627776 bytes, the file has 0 more"},
		{"bytes to spare", file(`{`+a+`}`, 5), "safetensors: offset 65: 1 bytes belong to no tensor"},
		{"bytes and no tensor", file(`{}`, 1), "safetensors: offset 10: 1 bytes belong to no tensor"},
	}
	for _, tt := range tests {
		f, err := safetensors.Decode(tt.in)
		if f != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "safetensors: ") {
			t.Errorf("%s: Decode() = %v, %v, want error %q", tt.name, f, err, tt.want)
		}
	}
}

func TestDecodeAccepts(t *testing.T) {
	// Keys in any order, tensors out of the order of their bytes, empty and
	// scalar tensors, spaces, escapes.
	in := file(`{ "b" : {"data_offsets":[4,8],"shape":[],"dtype":"F32"},"__metadata__":{"format":"pt"},`+
		`"none":{"dtype":"I64","shape":[3,0],"data_offsets":[4,4]},`+"\n"+
		`"\u0061\"":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}   `, 8)
	for i := range 8 {
		in[len(in)-8+i] = byte(i)
	}
	f, err := safetensors.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range f.Tensors() {
		got = append(got, fmt.Sprintf("%s %v %v %d %v", e.Name, e.DType, e.Shape, e.Offset-int64(len(in))+8, f.Bytes(e)))
	}
	want := []string{`a" BF16 [1 2] 0 [0 1 2 3]`, `none I64 [3 0] 4 []`, `b F32 [] 4 [4 5 6 7]`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Tensors() = %q, want %q", got, want)
	}
	if b := f.Bytes(f.Tensors()[0]); &b[0] != &in[len(in)-8] || cap(b) != 4 {
		t.Error("the bytes were copied or reach past the tensor")
	}
	if got := f.Metadata(); !reflect.DeepEqual(got, map[string]string{"format": "pt"}) {
		t.Errorf("Metadata() = %v, want format: pt", got)
	}
}

func TestOpen(t *testing.T) {
	f, err := safetensors.Open(filepath.Join("..", "..", "testdata", "models", "bard-3m", "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	var elements int64
	for _, e := range f.Tensors() {
		n, err := e.Elements()
		if err != nil {
			t.Fatal(err)
		}
		elements += n
		if e.DType != tensor.BF16 || int64(len(f.Bytes(e))) != 2*n {
			t.Errorf("%s: %v, %d bytes, want BF16, %d", e.Name, e.DType, len(f.Bytes(e)), 2*n)
		}
	}
	if len(f.Tensors()) != 38 || elements != 2_885_888 {
		t.Errorf("%d tensors with %d elements, want 38 with 2885888", len(f.Tensors()), elements)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "bad.safetensors")
	if err := os.WriteFile(path, file("[]", 0), 0o600); err != nil {
		t.Fatal(err)
	}
	want := "safetensors: " + path + ": offset 8: the header does not begin with {"
	if _, err := safetensors.Open(path); err == nil || err.Error() != want {
		t.Errorf("Open(bad) = %v, want %q", err, want)
	}
	if _, err := safetensors.Open(filepath.Join(dir, "absent")); !os.IsNotExist(unwrap(err)) {
		t.Errorf("Open(absent) = %v, want a not-exist error", err)
	}
}

func unwrap(err error) error {
	if u, ok := err.(interface{ Unwrap() error }); ok {
		return u.Unwrap()
	}
	return err
}

func sample() []safetensors.Tensor {
	return []safetensors.Tensor{
		{Info: tensor.Info{Name: "w", DType: tensor.BF16, Shape: []int{2, 3}}, Data: []byte("0123456789ab")},
		{Info: tensor.Info{Name: "<&>\u2028", DType: tensor.I64, Shape: []int{}}, Data: []byte("01234567")},
		{Info: tensor.Info{Name: "", DType: tensor.F32, Shape: []int{0, 7}}},
	}
}

// The digest is of a file that the safetensors package of Python reads back.
func TestWrite(t *testing.T) {
	metadata := map[string]string{"z": "1", "a": "\"<", "format": "pt"}
	var b bytes.Buffer
	if err := safetensors.Write(&b, sample(), metadata); err != nil {
		t.Fatal(err)
	}
	want := `{"__metadata__":{"a":"\"<","format":"pt","z":"1"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"<&>\u2028":{`
	if got := b.String()[8:]; !strings.HasPrefix(got, want) {
		t.Errorf("Write() gives %q, want %q first", got, want)
	}
	f, err := safetensors.Decode(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(f.Metadata(), metadata) {
		t.Errorf("Metadata() = %v, want %v", f.Metadata(), metadata)
	}
	if first := f.Tensors()[0]; first.Offset%8 != 0 || first.Name != "w" {
		t.Errorf("%q is first, at offset %d, want w at a multiple of 8", first.Name, first.Offset)
	}
	if got, want := fmt.Sprintf("%x", sha256.Sum256(b.Bytes())), sampleDigest; got != want {
		t.Errorf("SHA-256 of the file %s, want %s", got, want)
	}
}

const sampleDigest = "e8cc9e0b88f7438aa2815de903712a8e86245717a705a0cbb7f24065a8ac729e"

func TestWriteRefuses(t *testing.T) {
	info := func(name string, dt tensor.DType, shape ...int) safetensors.Tensor {
		return safetensors.Tensor{Info: tensor.Info{Name: name, DType: dt, Shape: shape}}
	}
	tests := []struct {
		tensors []safetensors.Tensor
		want    string
	}{
		{[]safetensors.Tensor{info("x", tensor.U8, 3)}, `safetensors: tensor "x": 0 bytes, want 3 for [3] of U8`},
		{[]safetensors.Tensor{info("x", tensor.U8, 0), info("x", tensor.U8, 0)}, `safetensors: tensor "x": the name is taken`},
		{[]safetensors.Tensor{info("__metadata__", tensor.U8, 0)}, `safetensors: tensor "__metadata__": the name is taken`},
		{[]safetensors.Tensor{info("\xff", tensor.U8, 0)}, `safetensors: tensor "\xff": the name is not UTF-8`},
		{[]safetensors.Tensor{info("x", 0, 0)}, `safetensors: tensor "x": unknown dtype DType(0)`},
		{[]safetensors.Tensor{info("x", tensor.U8, -1)}, `dimension 0 is negative`},
	}
	for _, tt := range tests {
		err := safetensors.Write(&bytes.Buffer{}, tt.tensors, nil)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Write(%v) = %v, want %q", tt.tensors, err, tt.want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(file("{}  ", 0))
	f.Add(file(`{"__metadata__":{"k":"v"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}`, 8))
	f.Add(file(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"I8","shape":[],"data_offsets":[4,5]}}`, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := safetensors.Decode(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "safetensors: ") || !strings.Contains(err.Error(), "offset ") {
				t.Errorf("error %q names no offset", err)
			}
			return
		}
		tensors := make([]safetensors.Tensor, len(file.Tensors()))
		for i, e := range file.Tensors() {
			tensors[i] = safetensors.Tensor{Info: e.Info, Data: file.Bytes(e)}
		}
		var again bytes.Buffer
		if err := safetensors.Write(&again, tensors, file.Metadata()); err != nil {
			t.Fatal(err)
		}
		if _, err := safetensors.Decode(again.Bytes()); err != nil {
			t.Errorf("Decode(Write(Decode())): %v", err)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("w", uint8(0), uint8(2), uint8(3), "key", "value")
	f.Add("\u2028<\"\\", uint8(14), uint8(0), uint8(9), "", "\x00")
	f.Fuzz(func(t *testing.T, name string, dtype, rows, cols uint8, key, value string) {
		info := tensor.Info{Name: name, DType: tensor.DTypes()[int(dtype)%len(tensor.DTypes())], Shape: []int{int(rows), int(cols)}}
		data := bytes.Repeat([]byte{dtype}, int(rows)*int(cols)*info.DType.Bytes())
		other := safetensors.Tensor{Info: tensor.Info{Name: name + "'", DType: tensor.U8, Shape: []int{1}}, Data: []byte{7}}
		metadata := map[string]string{strings.ToValidUTF8(key, ""): strings.ToValidUTF8(value, "")}
		var b bytes.Buffer
		if err := safetensors.Write(&b, []safetensors.Tensor{{Info: info, Data: data}, other}, metadata); err != nil {
			return
		}
		file, err := safetensors.Decode(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(file.Metadata(), metadata) {
			t.Errorf("Metadata() = %q, want %q", file.Metadata(), metadata)
		}
		found := 0
		for _, e := range file.Tensors() {
			if reflect.DeepEqual(e.Info, info) && bytes.Equal(file.Bytes(e), data) || reflect.DeepEqual(e.Info, other.Info) {
				found++
			}
		}
		if found != 2 {
			t.Errorf("Tensors() = %v, want %v and %v", file.Tensors(), info, other.Info)
		}
	})
}
