package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/llima-build/llima/internal/mmap"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

func newObjdump(env Env) *cobra.Command {
	var words bool
	cmd := &cobra.Command{
		Use:   "objdump FILE.elf...",
		Short: "Print the instructions of compiled programs",
		Long:  "Prints segments, symbols and instructions of programs of sima_files/elf_files.\nWhat stands after an address is assembly that gives the same words.",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for _, path := range args {
				if err := objdump(env, path, words); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&words, "words", false, "print the encoded words too")
	return cmd
}

func objdump(env Env, path string, words bool) (err error) {
	f, err := mmap.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	p, err := emu.Load(f.Bytes())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: instruction set %d.%d, quads: %d\n\nSegments:\n", filepath.Base(path), isa.Major, isa.Minor, p.Quads())
	for s := range isa.Segment(isa.NumSegments) {
		if n := p.SegmentSize(s); n > 0 {
			fmt.Fprintf(&b, "  %-8s %12d bytes\n", s, n)
		}
	}
	b.WriteString("\nSymbols:\n")
	for _, s := range p.Symbols() {
		fmt.Fprintf(&b, "  %-8s %10x %10d  %s\n", s.Segment, s.Offset, s.Size, s.Name)
	}
	for q := range p.Quads() {
		fmt.Fprintf(&b, "\nQuad %d:\n", q)
		code := p.Code(q)
		for at := 0; at < len(code); at += isa.WordSize {
			word := code[at : at+isa.WordSize]
			in, err := isa.Decode(word)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			fmt.Fprintf(&b, "  %06x  ", at)
			if words {
				fmt.Fprintf(&b, "%x  ", word)
			}
			b.WriteString(in.String() + "\n")
		}
	}
	_, err = fmt.Fprint(env.Stdout, b.String())
	return err
}
