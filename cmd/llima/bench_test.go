package main_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// The benchmarks time whole processes, from start to exit, over checkpoints
// of real shapes that are sparse files: they read as gigabytes and take a
// megabyte on disk.
//
//	go test -run '^$' -bench . -benchtime 5x ./cmd/llima

// shapes are the sizes of a Llama.
type shapes struct{ layers, hidden, intermediate, heads, kvHeads, headDim, vocab int }

var (
	llama3B = shapes{28, 3072, 8192, 24, 8, 128, 128256}
	smollm2 = shapes{28, 576, 1536, 9, 3, 64, 49152} // two layers less than published
	deep    = shapes{600, 32, 64, 2, 1, 32, 2048}    // 11,403 targets
)

// sparse writes a checkpoint of zeros into DIR/model, but for the first weight
// of each tensor, which tells it from the others. It returns the bytes of its
// weights.
func (s shapes) sparse(tb testing.TB, dir string) int64 {
	tb.Helper()
	model := filepath.Join(dir, "model")
	if err := os.CopyFS(model, os.DirFS("../../testdata/models/bard-3m")); err != nil {
		tb.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": s.hidden,
		"intermediate_size": s.intermediate, "num_hidden_layers": s.layers, "num_attention_heads": s.heads,
		"num_key_value_heads": s.kvHeads, "head_dim": s.headDim, "vocab_size": s.vocab, "tie_word_embeddings": true,
		"rms_norm_eps": 1e-5, "rope_theta": 500000, "max_position_embeddings": 131072, "bos_token_id": 0, "eos_token_id": 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(model, "config.json"), config, 0o600); err != nil {
		tb.Fatal(err)
	}
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	header, end := map[string]entry{}, int64(0)
	add := func(name string, shape ...int) {
		size := int64(2)
		for _, n := range shape {
			size *= int64(n)
		}
		header[name] = entry{"BF16", shape, [2]int64{end, end + size}}
		end += size
	}
	add("model.embed_tokens.weight", s.vocab, s.hidden)
	add("model.norm.weight", s.hidden)
	attention, kv := s.heads*s.headDim, s.kvHeads*s.headDim
	for l := range s.layers {
		layer := fmt.Sprintf("model.layers.%d.", l)
		add(layer+"input_layernorm.weight", s.hidden)
		add(layer+"post_attention_layernorm.weight", s.hidden)
		add(layer+"self_attn.q_proj.weight", attention, s.hidden)
		add(layer+"self_attn.k_proj.weight", kv, s.hidden)
		add(layer+"self_attn.v_proj.weight", kv, s.hidden)
		add(layer+"self_attn.o_proj.weight", s.hidden, attention)
		add(layer+"mlp.gate_proj.weight", s.intermediate, s.hidden)
		add(layer+"mlp.up_proj.weight", s.intermediate, s.hidden)
		add(layer+"mlp.down_proj.weight", s.hidden, s.intermediate)
	}
	text, err := json.Marshal(header)
	if err != nil {
		tb.Fatal(err)
	}
	text = append(text, bytes.Repeat([]byte(" "), (8-len(text)%8)%8)...)
	start := int64(8 + len(text))
	f, err := os.Create(filepath.Join(model, "model.safetensors"))
	if err != nil {
		tb.Fatal(err)
	}
	w := bufio.NewWriter(f)
	_, err = w.Write(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...))
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Truncate(start + end)
	}
	number := uint16(0x3c00)
	for _, e := range header {
		if number++; err == nil {
			_, err = f.WriteAt(binary.LittleEndian.AppendUint16(nil, number), start+e.Offsets[0])
		}
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
	const project = "model \"big\" {\n  source = \"model\"\n  output = \"out\"\n  context_length = 1024\n  layer \"prefill\" {\n    when      = layer.is_group\n    precision = \"A_BF16_W_INT8\"\n  }\n  layer \"decode\" {\n    precision = \"A_BF16_W_INT4\"\n  }\n}\n"
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte(project), 0o600); err != nil {
		tb.Fatal(err)
	}
	return end
}

// process returns a function that runs llima once, as a process.
func process(b *testing.B) func(args ...string) {
	b.Helper()
	program := filepath.Join(b.TempDir(), "llima")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return func(args ...string) {
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			b.Fatalf("llima %v: %v\n%s", args, err, out)
		}
	}
}

// BenchmarkNoOp is a build with nothing to do.
func BenchmarkNoOp(b *testing.B) {
	dir := b.TempDir()
	smollm2.sparse(b, dir)
	llima := process(b)
	llima("build", "-C", dir, "--progress=quiet")
	llima("plan", "-C", dir, "--exit-code")
	b.Run("build", func(b *testing.B) {
		for b.Loop() {
			llima("build", "-C", dir)
		}
	})
	b.Run("plan", func(b *testing.B) {
		for b.Loop() {
			llima("plan", "-C", dir)
		}
	})
	b.Run("version", func(b *testing.B) { // what a process takes at least
		for b.Loop() {
			llima("version")
		}
	})
}

// BenchmarkColdPlan plans a checkpoint of which no digest is remembered, beside
// hashing all of it once on all cores.
func BenchmarkColdPlan(b *testing.B) {
	dir := b.TempDir()
	size := llama3B.sparse(b, dir)
	llima := process(b)
	weights := filepath.Join(dir, "model/model.safetensors")
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			hashOnAllCores(b, weights, size)
		}
	})
	b.Run("plan", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			llima("plan", "-C", dir)
		}
	})
}

// BenchmarkManyTargets plans ten thousand targets: of a project never built.
func BenchmarkManyTargets(b *testing.B) {
	dir := b.TempDir()
	deep.sparse(b, dir)
	llima := process(b)
	for b.Loop() {
		llima("plan", "-C", dir)
	}
}

// hashOnAllCores hashes a file once, each core an equal piece of it.
func hashOnAllCores(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	var wg sync.WaitGroup
	cores := int64(runtime.GOMAXPROCS(0))
	for core := range cores {
		wg.Go(func() {
			h, buf := sha256.New(), make([]byte, 1<<20)
			for at, end := size*core/cores, size*(core+1)/cores; at < end; {
				n, err := f.ReadAt(buf[:min(int64(len(buf)), end-at)], at)
				_, _ = h.Write(buf[:n])
				if at += int64(n); err != nil {
					b.Error(err)
					return
				}
			}
			h.Sum(nil)
		})
	}
	wg.Wait()
}
