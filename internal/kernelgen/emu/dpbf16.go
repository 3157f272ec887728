package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// dpbf16 adds to d the sums of the two products of x's and w's pairs. Neither
// avo nor the assembler knows VDPBF16PS.
func dpbf16(x, w, d reg.VecVirtual) {
	Instruction(&ir.Instruction{
		Opcode:   "VDPBF16PS",
		Operands: []operand.Op{x, w, d},
		Inputs:   []operand.Op{x, w, d},
		Outputs:  []operand.Op{d},
	})
}

var dpbf16Text = regexp.MustCompile(`VDPBF16PS\s+Z(\d+), Z(\d+), Z(\d+)`)

// encodeBF16 replaces VDPBF16PS in an assembly file by its bytes,
// EVEX.512.F3.0F38.W0 52 /r.
func encodeBF16(path string) {
	b, err := os.ReadFile(path)
	fatal(err)
	out := dpbf16Text.ReplaceAllStringFunc(string(b), func(s string) string {
		m := dpbf16Text.FindStringSubmatch(s)
		var r [3]int // r/m, vvvv, reg
		for i := range r {
			r[i], err = strconv.Atoi(m[1+i])
			fatal(err)
		}
		off := func(x, bit int) int { return 1 - x>>bit&1 } // inverted
		p0 := off(r[2], 3)<<7 | off(r[0], 4)<<6 | off(r[0], 3)<<5 | off(r[2], 4)<<4 | 2
		p1 := (^r[1]&15)<<3 | 4 | 2
		p2 := 0x40 | off(r[1], 4)<<3
		modRM := 0xc0 | r[2]&7<<3 | r[0]&7
		return fmt.Sprintf("LONG $0x%02x%02x%02x62; WORD $0x%02x52 // %s", p2, p1, p0, modRM, s)
	})
	fatal(os.WriteFile(path, []byte(out), 0o644))
}
