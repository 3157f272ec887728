package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/formats/npy"
	"github.com/llima-build/llima/internal/atomicio"
	"github.com/llima-build/llima/modalix/runtime"
)

// maxPromptBytes bounds a prompt read from standard input.
const maxPromptBytes = 16 << 20

type runFlags struct {
	ids, forceIDs string
	maxTokens     int
	greedy        bool
	temperature   float64
	topK          int
	topP          float64
	seed          uint64
	json          bool
	raw           bool
	ignoreEOS     bool
	logits        string
}

func newRun(env Env) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run OUT [PROMPT]",
		Short: "Generate text from a build output, on the emulator",
		Long: `Loads OUT/sima_files, nothing else, and generates text on the emulator. The
prompt is the second argument, standard input where that is absent, or token
ids with --ids. Text goes to standard output as it is generated, speed to
standard error.

Where the model has a chat template the prompt becomes a user message in it,
unless --raw is given.`,
		Example: `  llima run out/bard-bf16 $'ROMEO:\n'
  llima run out/bard-bf16 --ids 0,52,49 --max-tokens 8 --greedy --json`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return run(cmd, env, &f, args)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.ids, "ids", "", "prompt as comma-separated token ids, taken as they are")
	fl.StringVar(&f.forceIDs, "force-ids", "", "token ids fed through decode in place of what was sampled")
	fl.IntVarP(&f.maxTokens, "max-tokens", "n", 256, "how many tokens to generate at most")
	fl.BoolVar(&f.greedy, "greedy", false, "always take the most likely token")
	fl.Float64Var(&f.temperature, "temperature", 0, "sampling temperature (default: generation_config.json, else greedy)")
	fl.IntVar(&f.topK, "top-k", 0, "sample among the K most likely tokens")
	fl.Float64Var(&f.topP, "top-p", 0, "sample among the tokens that make up this probability")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of the sampler")
	fl.BoolVar(&f.json, "json", false, "print one JSON document instead of text")
	fl.BoolVar(&f.raw, "raw", false, "do not apply the chat template")
	fl.BoolVar(&f.ignoreEOS, "ignore-eos", false, "go on after an end-of-text token")
	fl.StringVar(&f.logits, "logits", "", "write logits [T, V] float32 of the prompt and of forced tokens to this .npy file")
	return cmd
}

// runDocument is what run --json prints. Clocks stand in Time only.
type runDocument struct {
	FormatVersion int     `json:"format_version"`
	PromptIDs     []int   `json:"prompt_ids"`
	IDs           []int   `json:"ids"`
	Text          string  `json:"text"`
	Reason        string  `json:"reason"`
	Time          runTime `json:"time"`
}

// runTime holds the wall times of a run, and the speeds that follow from them.
type runTime struct {
	LoadMillis         float64 `json:"load_ms"`
	FirstTokenMillis   float64 `json:"ttft_ms"`
	DecodeMillis       float64 `json:"decode_ms"`
	PromptTokensPerSec float64 `json:"prompt_tok_per_s"`
	TokensPerSec       float64 `json:"tok_per_s"`
}

func run(cmd *cobra.Command, env Env, f *runFlags, args []string) (err error) {
	start := env.Now()
	sima, err := findSimaFiles(args[0])
	if err != nil {
		return err
	}
	model, err := runtime.Open(sima)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	loaded := env.Now()

	prompt, err := promptIDs(env, model, f, args[1:])
	if err != nil {
		return err
	}
	opt, err := f.options(cmd, model)
	if err != nil {
		return err
	}
	var logits *logitsFile
	if f.logits != "" {
		logits = &logitsFile{limit: len(prompt) + len(opt.Force)}
		opt.Logits = logits.add
	}

	doc := runDocument{FormatVersion: 1, PromptIDs: prompt, IDs: []int{}}
	var first time.Time
	emitted := 0
	result, err := model.Generate(cmd.Context(), prompt, opt, func(_ int, text string) error {
		if emitted == 0 {
			first = env.Now()
		}
		emitted++
		if f.json {
			return nil
		}
		_, err := io.WriteString(env.Stdout, text)
		return err
	})
	end := env.Now()
	if err != nil {
		if !f.json && emitted > 0 {
			fmt.Fprintln(env.Stdout)
		}
		return err
	}
	if first.IsZero() {
		first = end
	}
	if logits != nil {
		if err := logits.write(f.logits); err != nil {
			return err
		}
	}
	doc.IDs = append(doc.IDs, result.IDs...)
	doc.Text, doc.Reason = result.Text, result.Reason
	doc.Time = runTime{
		LoadMillis:         millis(loaded.Sub(start)),
		FirstTokenMillis:   millis(first.Sub(loaded)),
		DecodeMillis:       millis(end.Sub(first)),
		PromptTokensPerSec: rate(len(prompt), first.Sub(loaded)),
		TokensPerSec:       rate(emitted-1, end.Sub(first)),
	}
	if f.json {
		enc := json.NewEncoder(env.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(doc)
	}
	if !strings.HasSuffix(result.Text, "\n") {
		fmt.Fprintln(env.Stdout)
	}
	fmt.Fprintf(env.Stderr, "\n%d prompt tokens, first token after %.0f ms (%.1f tok/s)\n%d tokens, %.1f tok/s, stopped: %s\n",
		len(prompt), doc.Time.FirstTokenMillis, doc.Time.PromptTokensPerSec, len(result.IDs), doc.Time.TokensPerSec, result.Reason)
	return nil
}

// findSimaFiles accepts an output folder or its sima_files.
func findSimaFiles(dir string) (string, error) {
	inner := filepath.Join(dir, "sima_files")
	if st, err := os.Stat(inner); err == nil && st.IsDir() {
		return inner, nil
	}
	if st, err := os.Stat(filepath.Join(dir, "devkit")); err == nil && st.IsDir() {
		return dir, nil
	}
	if _, err := os.Stat(dir); err != nil {
		return "", usageError{fmt.Errorf("%s: no such output\n  build it first:\n    llima build", dir)}
	}
	return "", usageError{fmt.Errorf("%s: holds no sima_files, so nothing was built here\n  build it first:\n    llima build", dir)}
}

// promptIDs returns the token ids of the prompt, wherever it comes from.
func promptIDs(env Env, model *runtime.Model, f *runFlags, args []string) ([]int, error) {
	if f.ids != "" {
		if len(args) > 0 {
			return nil, usageError{errors.New("a prompt and --ids exclude each other")}
		}
		return parseIDs("--ids", f.ids)
	}
	var text string
	if len(args) > 0 && args[0] != "-" {
		text = args[0]
	} else {
		b, err := io.ReadAll(io.LimitReader(env.Stdin, maxPromptBytes+1))
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		if len(b) > maxPromptBytes {
			return nil, usageError{fmt.Errorf("standard input: prompt is longer than %d bytes", maxPromptBytes)}
		}
		text = string(b)
	}
	if f.raw {
		return model.Encode(text), nil
	}
	return model.EncodeChat(text)
}

// options turns flags into what the runtime takes; what no flag states comes
// from the model's generation_config.json.
func (f *runFlags) options(cmd *cobra.Command, model *runtime.Model) (runtime.Options, error) {
	o := model.Defaults()
	o.MaxTokens, o.Seed, o.IgnoreEOS = f.maxTokens, f.seed, f.ignoreEOS
	changed := cmd.Flags().Changed
	if changed("temperature") {
		o.Temperature, o.Greedy = f.temperature, f.temperature == 0
	}
	if changed("top-k") {
		o.TopK = f.topK
	}
	if changed("top-p") {
		o.TopP = f.topP
	}
	if f.greedy {
		o.Greedy = true
	}
	if f.maxTokens < 0 {
		return o, usageError{fmt.Errorf("--max-tokens %d: want 0 or more", f.maxTokens)}
	}
	if f.forceIDs != "" {
		force, err := parseIDs("--force-ids", f.forceIDs)
		if err != nil {
			return o, err
		}
		o.Force = force
		if !changed("max-tokens") || o.MaxTokens < len(force) {
			o.MaxTokens = len(force)
		}
	}
	return o, nil
}

func parseIDs(flag, s string) ([]int, error) {
	var ids []int
	for field := range strings.SplitSeq(s, ",") {
		id, err := strconv.Atoi(strings.TrimSpace(field))
		if err != nil || id < 0 {
			return nil, usageError{fmt.Errorf("%s: %q is not a token id", flag, field)}
		}
		ids = append(ids, id)
	}
	return ids, nil
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func rate(n int, d time.Duration) float64 {
	if n <= 0 || d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// logitsFile collects the rows of --logits.
type logitsFile struct {
	rows  []float32
	count int
	width int
	limit int // rows that the file holds: prompt and forced tokens
}

func (l *logitsFile) add(row []float32) error {
	if l.count >= l.limit {
		return nil
	}
	l.width = len(row)
	l.rows = append(l.rows, row...)
	l.count++
	return nil
}

func (l *logitsFile) write(path string) error {
	b, err := npy.EncodeF32(l.rows, l.count, l.width)
	if err != nil {
		return err
	}
	return atomicio.WriteFile(path, b, 0o644)
}
