//go:build unix

package main_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPipes puts a pipe, which nobody writes to, in place of each file of a
// checkpoint and of an output: an error, and no wait for a writer.
func TestPipes(t *testing.T) {
	out := buildSmall(t, "BF16")
	dir := t.TempDir()
	model := filepath.Join(dir, "model")
	copyTree(t, "../../testdata/models/bard-3m", model)
	if err := os.WriteFile(filepath.Join(dir, "llima.hcl"), []byte("model \"m\" {\n  source = \"model\"\n  context_length = 128\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	devkit := filepath.Join(out, "sima_files", "devkit")
	for _, path := range []string{
		filepath.Join(model, "config.json"), filepath.Join(model, "generation_config.json"), filepath.Join(model, "tokenizer.json"),
		filepath.Join(model, "chat_template.jinja"), filepath.Join(model, "model.safetensors"),
		filepath.Join(devkit, "vlm_config.json"), filepath.Join(devkit, "tokenizer.json"), filepath.Join(devkit, "chat_template.jinja"),
		filepath.Join(devkit, "embeddings.bin"), filepath.Join(devkit, "rope_cos.npy"),
		filepath.Join(out, "sima_files", "elf_files", "index.json"), filepath.Join(out, "sima_files", "elf_files", "group_pre_0.elf"),
	} {
		sound, err := os.ReadFile(path)
		had := err == nil
		if had {
			err = os.Remove(path)
		}
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(path, 0o644); err != nil {
			t.Fatal(err)
		}
		type result struct {
			code int
			text string
		}
		done := make(chan result, 1)
		go func() {
			args := []string{"run", out, "--ids", "0", "--max-tokens", "1"}
			if strings.HasPrefix(path, model) {
				args = []string{"build", "-C", dir, "--progress=quiet", "m:devkit"}
			}
			code, text := attempt(t, args...)
			done <- result{code, strings.Join(strings.Fields(text), " ")} // as if not wrapped
		}()
		select {
		case r := <-done:
			if r.code == 0 || !strings.Contains(r.text, filepath.Base(path)) || !strings.Contains(r.text, "not a regular file") {
				t.Errorf("%s is a pipe: exit code %d\n%s", filepath.Base(path), r.code, r.text)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is a pipe: still waiting", filepath.Base(path))
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if had {
			if err := os.WriteFile(path, sound, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
