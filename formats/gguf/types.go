package gguf

import (
	"fmt"

	"github.com/llima-build/llima/formats/tensor"
)

// Type is a tensor type, by the number that files have for it (ggml.h,
// "enum ggml_type").
type Type uint32

// The types that a file may hold.
const (
	F32    Type = 0
	F16    Type = 1
	Q4_0   Type = 2
	Q4_1   Type = 3
	Q5_0   Type = 6
	Q5_1   Type = 7
	Q8_0   Type = 8
	Q2K    Type = 10
	Q3K    Type = 11
	Q4K    Type = 12
	Q5K    Type = 13
	Q6K    Type = 14
	IQ2XXS Type = 16
	IQ2XS  Type = 17
	IQ3XXS Type = 18
	IQ1S   Type = 19
	IQ4NL  Type = 20
	IQ3S   Type = 21
	IQ2S   Type = 22
	IQ4XS  Type = 23
	I8     Type = 24
	I16    Type = 25
	I32    Type = 26
	I64    Type = 27
	F64    Type = 28
	IQ1M   Type = 29
	BF16   Type = 30
	TQ1    Type = 34
	TQ2    Type = 35
	MXFP4  Type = 39
	NVFP4  Type = 40
	Q1_0   Type = 41
)

// layout is what a type's blocks look like.
type layout struct {
	name       string
	elements   int // of a block
	blockBytes int
	float      tensor.DType  // of plain elements, else 0
	coding     tensor.Coding // of codes, else zero
	// unpack takes a block of blockBytes apart into codes [elements], and the
	// scales and offsets of its groups; offsets is nil where there are none.
	unpack func(block []byte, codes []int8, scales, offsets []float32)
}

const super = 256 // elements of a block of the K and I types

func code(c tensor.CodeType, group int, scale, offset tensor.DType) tensor.Coding {
	return tensor.Coding{Codes: c, GroupSize: group, Scale: scale, Offset: offset}
}

// layouts is the one table of types. Codes that four bits cannot hold are
// INT8; a type with a minimum has offsets.
var layouts = map[Type]layout{
	F32:    {name: "F32", elements: 1, blockBytes: 4, float: tensor.F32},
	F16:    {name: "F16", elements: 1, blockBytes: 2, float: tensor.F16},
	BF16:   {name: "BF16", elements: 1, blockBytes: 2, float: tensor.BF16},
	F64:    {name: "F64", elements: 1, blockBytes: 8},
	I8:     {name: "I8", elements: 1, blockBytes: 1},
	I16:    {name: "I16", elements: 1, blockBytes: 2},
	I32:    {name: "I32", elements: 1, blockBytes: 4},
	I64:    {name: "I64", elements: 1, blockBytes: 8},
	Q1_0:   {"Q1_0", 128, 18, 0, code(tensor.Int4, 128, tensor.F16, 0), unpackQ1},
	Q4_0:   {"Q4_0", 32, 18, 0, code(tensor.Int4, 32, tensor.F16, 0), unpackQ4},
	Q4_1:   {"Q4_1", 32, 20, 0, code(tensor.UInt4, 32, tensor.F16, tensor.F16), unpackQ4Min},
	Q5_0:   {"Q5_0", 32, 22, 0, code(tensor.Int8, 32, tensor.F16, 0), unpackQ5},
	Q5_1:   {"Q5_1", 32, 24, 0, code(tensor.Int8, 32, tensor.F16, tensor.F16), unpackQ5Min},
	Q8_0:   {"Q8_0", 32, 34, 0, code(tensor.Int8, 32, tensor.F16, 0), unpackQ8},
	Q2K:    {"Q2_K", super, 84, 0, code(tensor.UInt4, 16, tensor.F32, tensor.F32), unpackQ2K},
	Q3K:    {"Q3_K", super, 110, 0, code(tensor.Int4, 16, tensor.F32, 0), unpackQ3K},
	Q4K:    {"Q4_K", super, 144, 0, code(tensor.UInt4, 32, tensor.F32, tensor.F32), unpackQ4K},
	Q5K:    {"Q5_K", super, 176, 0, code(tensor.Int8, 32, tensor.F32, tensor.F32), unpackQ5K},
	Q6K:    {"Q6_K", super, 210, 0, code(tensor.Int8, 16, tensor.F32, 0), unpackQ6K},
	IQ1S:   {"IQ1_S", super, 50, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackIQ1S},
	IQ1M:   {"IQ1_M", super, 56, 0, code(tensor.Int8, 16, tensor.F32, 0), unpackIQ1M},
	IQ2XXS: {"IQ2_XXS", super, 66, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackIQ2XXS},
	IQ2XS:  {"IQ2_XS", super, 74, 0, code(tensor.Int8, 16, tensor.F32, 0), unpackIQ2XS},
	IQ2S:   {"IQ2_S", super, 82, 0, code(tensor.Int8, 16, tensor.F32, 0), unpackIQ2S},
	IQ3XXS: {"IQ3_XXS", super, 98, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackIQ3XXS},
	IQ3S:   {"IQ3_S", super, 110, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackIQ3S},
	IQ4NL:  {"IQ4_NL", 32, 18, 0, code(tensor.Int8, 32, tensor.F16, 0), unpackIQ4NL},
	IQ4XS:  {"IQ4_XS", super, 136, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackIQ4XS},
	TQ1:    {"TQ1_0", super, 54, 0, code(tensor.Int4, super, tensor.F16, 0), unpackTQ1},
	TQ2:    {"TQ2_0", super, 66, 0, code(tensor.Int4, super, tensor.F16, 0), unpackTQ2},
	MXFP4:  {"MXFP4", 32, 17, 0, code(tensor.Int8, 32, tensor.F32, 0), unpackMXFP4},
	NVFP4:  {"NVFP4", 64, 36, 0, code(tensor.Int8, 16, tensor.F16, 0), unpackNVFP4},
}

// gone are numbers that files had once, or never have.
var gone = map[Type]string{
	4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
	9: "Q8_1", 15: "Q8_K",
}

// String returns the name of the type as llama.cpp writes it, "Q4_K".
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("Type(%d)", uint32(t))
}

// Block returns how many elements a block has and how many bytes it takes; 0
// for an unknown type.
func (t Type) Block() (elements, sizeBytes int) {
	l := layouts[t]
	return l.elements, l.blockBytes
}

// Float returns the element type of a tensor that is stored as plain F32, F16
// or BF16; ok is false for every other type.
func (t Type) Float() (dt tensor.DType, ok bool) {
	dt = layouts[t].float
	return dt, dt != 0
}

// Coding returns how the type's weights are carried over as integers, without
// changing any; ok is false for types that hold no codes.
func (t Type) Coding() (c tensor.Coding, ok bool) {
	l := layouts[t]
	return l.coding, l.unpack != nil
}

// problem says why a type number cannot be read.
func (t Type) problem() string {
	switch name, old := gone[t]; {
	case t == 9 || t == 15:
		return fmt.Sprintf("type %d (%s) is an intermediate of llama.cpp's kernels, not a type of files", uint32(t), name)
	case old:
		return fmt.Sprintf("type %d (%s) was withdrawn from the format; quantize the model again with a current llama.cpp", uint32(t), name)
	}
	return fmt.Sprintf("type %d is unknown; quantize the model to a type that docs/sources.md lists", uint32(t))
}
