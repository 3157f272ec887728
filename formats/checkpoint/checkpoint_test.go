package checkpoint_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/formats/tensor"
)

var bard = filepath.Join("..", "..", "testdata", "models", "bard-3m")

// shard returns a safetensors file of one-byte tensors with these names.
func shard(t *testing.T, names ...string) string {
	t.Helper()
	var list []safetensors.Tensor
	for _, n := range names {
		list = append(list, safetensors.Tensor{Info: tensor.Info{Name: n, DType: tensor.U8, Shape: []int{1}}, Data: []byte(n[:1])})
	}
	var b bytes.Buffer
	if err := safetensors.Write(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// folder writes files into a new folder, by name and contents.
func folder(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		if err := os.WriteFile(filepath.Join(dir, files[i]), []byte(files[i+1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const index = "model.safetensors.index.json"

func weightMap(pairs string) string {
	return `{"metadata":{"total_size":3},"weight_map":{` + pairs + `}}`
}

func open(t *testing.T, dir string) *checkpoint.Checkpoint {
	t.Helper()
	c, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestSingle(t *testing.T) {
	c := open(t, bard)
	if c.Format() != "hf" || c.Dir() != bard || !slices.Equal(c.Files(), []string{"model.safetensors"}) {
		t.Errorf("Format, Dir, Files = %q, %q, %q", c.Format(), c.Dir(), c.Files())
	}
	if !bytes.Contains(c.Config(), []byte("LlamaForCausalLM")) {
		t.Errorf("Config() = %s", c.Config())
	}
	w, ok := c.Tensor("model.embed_tokens.weight")
	if !ok || w.DType != tensor.BF16 || !slices.Equal(w.Shape, []int{2048, 256}) || w.File != "model.safetensors" {
		t.Errorf("Tensor(model.embed_tokens.weight) = %+v, %v", w, ok)
	}
	whole, err := os.ReadFile(filepath.Join(bard, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range c.Tensors() {
		b, err := c.Bytes(w)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, whole[w.Offset:w.Offset+w.Length]) {
			t.Errorf("Bytes(%s) are not those at offset %d", w.Name, w.Offset)
		}
	}
	w.Offset++
	if _, err := c.Bytes(w); err == nil || !strings.Contains(err.Error(), `has no tensor "model.embed_tokens.weight" at offset`) {
		t.Errorf("Bytes(elsewhere) = %v, want an error", err)
	}
	if _, ok := c.Tensor("lm_head.weight"); ok {
		t.Error("Tensor(lm_head.weight) is there, want none")
	}
}

func TestShards(t *testing.T) {
	c := open(t, folder(t, "config.json", "{}",
		"b.safetensors", shard(t, "z", "a"), "a.safetensors", shard(t, "m", "extra"),
		index, weightMap(`"m":"a.safetensors","z":"b.safetensors","a":"b.safetensors"`)))
	var got []string
	for _, w := range c.Tensors() {
		b, err := c.Bytes(w)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, w.Name+" "+w.File+" "+string(b))
	}
	want := []string{"a b.safetensors a", "extra a.safetensors e", "m a.safetensors m", "z b.safetensors z"}
	if !slices.Equal(got, want) {
		t.Errorf("Tensors() = %q, want %q", got, want)
	}
	if !slices.Equal(c.Files(), []string{"a.safetensors", "b.safetensors"}) {
		t.Errorf("Files() = %q, want both shards", c.Files())
	}
}

func TestOpenRefuses(t *testing.T) {
	one := shard(t, "w")
	tests := []struct {
		name  string
		files []string
		want  string
	}{
		{"no config", []string{"model.safetensors", one}, "no config.json in the folder"},
		{"no weights", []string{"config.json", "{}"}, "neither model.safetensors nor model.safetensors.index.json in the folder: "},
		{"other weights", []string{"config.json", "{}", "x.gguf", ""}, "in the folder (there is x.gguf): "},
		{"bad weights", []string{"config.json", "{}", "model.safetensors", "short"}, "model.safetensors: offset 0: 5 bytes, want at least 8"},
		{"git-LFS", []string{"config.json", "{}", "model.safetensors", "version https://git-lfs.github.com/spec/v1\n"}, "run `git lfs pull`"},
		{"git-LFS config", []string{"config.json", "version https://git-lfs.github.com/spec/v1\n", "model.safetensors", one}, "config.json: offset 0: a git-LFS pointer instead of the file; run `git lfs pull`"},
		{"index not JSON", []string{"config.json", "{}", index, "{"}, "model.safetensors.index.json: offset 1: the JSON ends too early"},
		{"no map", []string{"config.json", "{}", index, "{}"}, "no weight_map"},
		{"map is a list", []string{"config.json", "{}", index, `{"weight_map":[]}`}, "weight_map is not an object"},
		{"empty map", []string{"config.json", "{}", index, weightMap("")}, "weight_map is empty"},
		{"number for a file", []string{"config.json", "{}", index, weightMap(`"w":1`)}, `the file of tensor "w" is not a string`},
		{"object for a file", []string{"config.json", "{}", index, weightMap(`"w":{}`)}, `the file of tensor "w" is not a string`},
		{"tensor twice in the map", []string{"config.json", "{}", index, weightMap(`"w":"a","w":"b"`)}, `weight_map names tensor "w" twice`},
		{"absent shard", []string{"config.json", "{}", index, weightMap(`"w":"a.safetensors"`)}, "model.safetensors.index.json names a.safetensors, which is not in"},
		{"absent tensor", []string{"config.json", "{}", "a.safetensors", one, index, weightMap(`"w":"a.safetensors","v":"a.safetensors"`)}, `names tensor "v", which is not in a.safetensors`},
		{"wrong shard", []string{"config.json", "{}", "a.safetensors", one, "b.safetensors", shard(t, "v"), index, weightMap(`"w":"b.safetensors","v":"a.safetensors"`)}, `says that tensor "v" is in a.safetensors, it is in b.safetensors`},
		{"in two shards", []string{"config.json", "{}", "a.safetensors", one, "b.safetensors", shard(t, "w", "v"), index, weightMap(`"w":"a.safetensors","v":"b.safetensors"`)}, `tensor "w" is in both a.safetensors and b.safetensors`},
	}
	for _, name := range []string{"", ".", "..", "../a.safetensors", "a/b.safetensors", "/etc/passwd", `..\\a`, `C:\\a`, "a\\u0000b"} {
		tests = append(tests, struct {
			name  string
			files []string
			want  string
		}{"shard " + name, []string{"config.json", "{}", index, weightMap(`"w":"` + name + `"`)}, `tensor "w": "`})
	}
	for _, tt := range tests {
		dir := folder(t, tt.files...)
		c, err := checkpoint.Open(dir)
		if c != nil || err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "checkpoint: ") {
			t.Errorf("%s: Open() = %v, %v, want %q", tt.name, c, err, tt.want)
		}
		if err != nil && strings.HasPrefix(tt.name, "shard ") && !strings.HasSuffix(err.Error(), "is not the name of a file in the folder") {
			t.Errorf("%s: Open() = %v", tt.name, err)
		}
	}
}

func TestReadConfig(t *testing.T) {
	got, err := checkpoint.ReadConfig(folder(t, "config.json", `{"a":1}`))
	if err != nil || string(got) != `{"a":1}` {
		t.Errorf("ReadConfig() = %s, %v", got, err)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	want := "checkpoint: folder " + absent + ": file does not exist"
	if _, err := checkpoint.ReadConfig(absent); !errors.Is(err, fs.ErrNotExist) || err.Error() != want {
		t.Errorf("ReadConfig(absent) = %v, want %q", err, want)
	}
	file := filepath.Join(folder(t, "x.gguf", ""), "x.gguf")
	if _, err := checkpoint.ReadConfig(file); err == nil || !strings.Contains(err.Error(), "is a file, want a folder with config.json and model.safetensors") {
		t.Errorf("ReadConfig(file) = %v, want an error", err)
	}
}

func TestAux(t *testing.T) {
	c := open(t, bard)
	b, ok, err := c.Aux("tokenizer.json")
	if err != nil || !ok || !bytes.HasPrefix(b, []byte("{")) {
		t.Errorf("Aux(tokenizer.json) = %d bytes, %v, %v", len(b), ok, err)
	}
	if b, ok, err := c.Aux("chat_template.jinja"); b != nil || ok || err != nil {
		t.Errorf("Aux(chat_template.jinja) = %q, %v, %v, want none", b, ok, err)
	}
	for _, name := range []string{"../bard-3m/config.json", "golden", ".."} {
		if _, _, err := c.Aux(name); err == nil {
			t.Errorf("Aux(%q) = nil, want an error", name)
		}
	}
}

// A shard that is a link, as in Hugging Face's cache, is followed.
func TestLinkedShard(t *testing.T) {
	blobs := folder(t, "blob", shard(t, "w"))
	dir := folder(t, "config.json", "{}")
	if err := os.Symlink(filepath.Join(blobs, "blob"), filepath.Join(dir, "model.safetensors")); err != nil {
		t.Skip(err)
	}
	if _, ok := open(t, dir).Tensor("w"); !ok {
		t.Error("the linked shard has no tensor w")
	}
}
