// Package emu executes programs of the instruction set of docs/isa.md. It is
// the oracle for the compiler: it knows isa and the object file layout, and
// nothing of how a program came about. All that can be checked without data
// is checked by [Load]; [Machine.Run] checks only indices and spans.
//
// Programs run in a legal sequential order, quads one after the other, cut at
// the barriers; the race check of Load makes every legal order give the same
// bytes. The vector unit gives exactly the specified bits; the matrix unit
// keeps the bounds of docs/isa.md, or its reference order where that is asked.
//
// S holds numbers in the host's byte order, so a host must be little-endian.
package emu
