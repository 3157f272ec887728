// Command quantize quantises every matrix of a safetensors file, tables of
// embeddings to 8 bits, into one file, and prints the seconds that took, the
// start of the process apart. quantize_speed.py compares them with llama.cpp's.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/llima-build/llima/formats/safetensors"
	"github.com/llima-build/llima/quant"
)

func main() {
	bits := flag.Int("bits", 4, "bits of a code")
	group := flag.Int("group", 32, "weights that share a scale, 0 for a channel")
	search := flag.Bool("search", false, "search scales, in place of rounding to the nearest")
	jobs := flag.Int("jobs", 1, "matrices at a time; GOMAXPROCS says how many threads there are")
	flag.Parse()
	f := quant.Format{Bits: *bits, GroupSize: *group, Method: quant.Nearest}
	if *search {
		f.Method = quant.Search
	}
	start := time.Now()
	if err := run(flag.Arg(0), flag.Arg(1), f, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(time.Since(start).Seconds())
}

func run(from, to string, f quant.Format, jobs int) error {
	in, err := safetensors.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	work := make(chan func() error)
	failures := make([]error, jobs)
	var wg sync.WaitGroup
	for id := range failures {
		wg.Go(func() {
			for do := range work {
				failures[id] = errors.Join(failures[id], do())
			}
		})
	}
	at := int64(0)
	for _, e := range in.Tensors() {
		if len(e.Shape) != 2 {
			continue
		}
		n, k := e.Shape[0], e.Shape[1]
		to := io.NewOffsetWriter(out, at)
		if strings.Contains(e.Name, "embed") {
			work <- func() error { return quant.WriteEmbeddings8(to, in.Reader(e), e.DType, n, k) }
			at += int64(n)*int64(k) + 2*int64(n)
		} else {
			work <- func() error { return quant.Write(to, in.Reader(e), e.DType, n, k, f) }
			at += f.SizeBytes(n, k)
		}
	}
	close(work)
	wg.Wait()
	return errors.Join(append(failures, out.Close())...)
}
