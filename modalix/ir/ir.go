// Package ir is the compiler's intermediate form of one part of a model:
// typed values in static single assignment, every one a matrix [rows, cols].
// It knows the operators of a part and what the matrix unit rounds, but
// neither memory, tiles nor instructions: those are package lower's.
//
// A part enters by [Import] and is rewritten by [Run] in the order of
// [Passes]; [Func.Verify] holds after the import and after every pass.
package ir

import (
	"fmt"
	"strings"

	"github.com/llima-build/llima/formats/tensor"
)

// DType is the element type of a value.
type DType uint8

// The element types.
const (
	F32   DType = iota // IEEE binary32
	BF16               // bfloat16
	I32                // two's complement
	Pairs              // an F32 and an I32, 8 bytes: what TopK leaves
)

// String returns the name used in the textual form.
func (d DType) String() string {
	switch d {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	case I32:
		return "i32"
	case Pairs:
		return "pairs"
	}
	return fmt.Sprintf("DType(%d)", uint8(d))
}

// Size returns the bytes of one element.
func (d DType) Size() int {
	switch d {
	case BF16:
		return 2
	case Pairs:
		return 8
	case F32, I32:
	}
	return 4
}

// Type is the type of a value: a matrix [Rows, Cols].
type Type struct {
	DType      DType
	Rows, Cols int
}

// String returns "f32[128,256]".
func (t Type) String() string { return fmt.Sprintf("%s[%d,%d]", t.DType, t.Rows, t.Cols) }

// Op is an operator.
type Op uint8

// The operators. Those marked (import) stand only between the import and the
// pass that matches them.
const (
	Input     Op = iota // a buffer of segment IN, named
	Const               // Data, row-major
	Cast                // to Type.DType, ties to even
	Norm                // RMS norm of arg 0 by the vector arg 1, Eps; with Heads, of Live dims of every head
	Linear              // arg 0 [M,K] BF16 times the weight matrices, plus bias arg 1 where there is one
	Add                 // arg 0 + arg 1
	Mul                 // arg 0 * arg 1 (import)
	Sigmoid             // (import)
	Ratio               // arg 0 / Scale (import)
	Tanh                // (import)
	SoftCap             // Cap * tanh(arg 0 / Cap)
	Act                 // Fn of arg 0
	GLU                 // Fn(gate) * up of an interleaved Linear: panels of 16 columns alternate
	Rope                // rotary embedding of Rotary dims of every head of arg 0 by arg 1, [M,Rotary]: cos then sin
	Slice               // columns [Lo, Lo+Cols) of arg 0
	Append              // arg 0 [M, KVHeads*HeadDim] appended to the cache at positions arg 1; Name "k" or "v"
	Cached              // the first Rows tokens of the cache; Name "k" or "v"
	Scores              // rows (head, token), columns cached tokens: arg 0 · arg 1^T per head (import)
	Scale               // arg 0 * Scale (import)
	Softmax             // by rows, over the columns in the half-open span arg 1[token] (import)
	Values              // arg 0 · arg 1 per head (import)
	Attention           // softmax(Scale · q·K^T) · V, scores capped where Cap is set: arg 0 q, arg 1 K, arg 2 V, arg 3 spans
	Concat              // rows of arg 0, then rows of arg 1 (import)
	Conv                // sum over taps t of arg 2[t] * row m+t of arg 1 followed by arg 0, by columns, plus bias arg 3 where there is one
	Gather              // row arg 1[0] of arg 0
	Columns             // columns arg 1 of arg 0, arg 1 a constant of indices
	TopK                // the K best columns of each row, value falling then index rising
	Output              // arg 0 to a buffer of segment OUT, named
)

var opNames = [...]string{
	Input: "input", Const: "const", Cast: "cast", Norm: "norm.rms", Linear: "linear", Add: "add", Mul: "mul",
	Sigmoid: "sigmoid", Ratio: "ratio", Tanh: "tanh", SoftCap: "softcap", Act: "act", GLU: "glu", Rope: "rope", Slice: "slice", Append: "append", Cached: "cached",
	Scores: "scores", Scale: "scale", Softmax: "softmax", Values: "values", Attention: "attention", Concat: "concat", Conv: "conv", Gather: "gather.row", Columns: "gather.cols",
	TopK: "topk", Output: "output",
}

// String returns the name used in the textual form.
func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// HasValue reports whether an operator's node is a value that others may use.
func (o Op) HasValue() bool { return o != Append && o != Output }

// Node is one operation and the value that it defines.
type Node struct {
	ID   int // unique in its function, the %N of the textual form
	Op   Op
	Type Type
	Args []*Node

	Name    string  // Input, Output: the buffer; Append, Cached: "k" or "v"
	Eps     float32 // Norm
	Scale   float32 // Scale, Attention, Ratio
	Cap     float32 // SoftCap, Attention; 0: none
	Fn      Fn      // Act, GLU
	Lo      int     // Slice: first column
	K       int     // TopK
	Data    []byte  // Const: row-major, little-endian
	Weights []*Weight

	// Interleave says that a Linear's two weights alternate panel by panel
	// (16 columns each), as GLU reads them.
	Interleave bool

	// Heads of Norm, Rope and Output (Heads, HeadDim), Append and Cached
	// (KVHeads, HeadDim), attention (all). HeadDim counts the columns of a head,
	// its padding included.
	Heads, KVHeads, HeadDim int
	Live                    int // Norm: dims of a head that are normalised, the first ones
	Rotary                  int // Rope: dims of a head that turn, the first ones
}

// Fn is a function of one number.
type Fn uint8

// The functions.
const (
	Silu Fn = iota // x * sigmoid(x)
	GeluTanh
	Gelu
	Relu
)

var fnNames = [...]string{Silu: "silu", GeluTanh: "gelu_tanh", Gelu: "gelu", Relu: "relu"}

// String returns the name used in the textual form.
func (f Fn) String() string {
	if int(f) < len(fnNames) {
		return fnNames[f]
	}
	return fmt.Sprintf("Fn(%d)", uint8(f))
}

// Layout says how a matrix [N outputs, K inputs] lies in its file.
type Layout uint8

// The layouts.
const (
	NK Layout = iota // row-major [N, K]: a checkpoint's own rows
	KN               // row-major [K, N]: what DequantizeLinear reads
)

// Weight refers to one matrix of a Linear: [N outputs, K inputs].
type Weight struct {
	Name      string // the checkpoint's name of the tensor
	N, K      int
	First     int    // output of the stored matrix that is the first here
	Stored    int    // outputs of the stored matrix; 0: N
	HeadDim   int    // outputs of a head, each of which is padded to a multiple of 32; 0: none is
	Bits      int    // 16 (BF16), 8 or 4
	Unsigned  bool   // codes of 4 bits are 0 to 15
	GroupSize int    // inputs that share a scale; 0: one scale per output
	Layout    Layout // BF16: NK or KN; else KN
	Codes     Range
	Scales    Range // [K/group, N] row-major, or [N]; unused for BF16
	Offsets   Range // likewise, where OffsetType says that there are some
	// ScaleType and OffsetType are F16, BF16 or F32, or 0 for none.
	ScaleType, OffsetType tensor.DType
}

// Range is a run of bytes in a weight file, or inline bytes.
type Range struct {
	Location       string
	Offset, Length int64
	Inline         []byte // used when Location is empty
}

// padUnit is what the inputs of a product and the dims of a cached head are
// padded to a multiple of.
const padUnit = 32

func padded(n int) int { return (n + padUnit - 1) / padUnit * padUnit }

// Cols returns the columns that the weight gives, padding of heads included.
func (w *Weight) Cols() int {
	if w.HeadDim == 0 {
		return w.N
	}
	return w.N / w.HeadDim * padded(w.HeadDim)
}

// Format returns "bf16", "int8.channel", "uint4.g32+f16", ...: float16 scales
// are not named, other types and offsets are.
func (w *Weight) Format() string {
	if w.Bits == 16 {
		return "bf16"
	}
	s := fmt.Sprintf("int%d", w.Bits)
	if w.Unsigned {
		s = "u" + s
	}
	if w.GroupSize == 0 {
		s += ".channel"
	} else {
		s += fmt.Sprintf(".g%d", w.GroupSize)
	}
	if w.ScaleType != tensor.F16 {
		s += "." + strings.ToLower(w.ScaleType.String())
	}
	if w.OffsetType != 0 {
		s += "+" + strings.ToLower(w.OffsetType.String())
	}
	return s
}

// Func is one part of a model.
type Func struct {
	Name          string
	ContextTokens int     // capacity of the cache in tokens, 0 for a part that does not touch it
	Nodes         []*Node // every argument stands before its users

	nextID int
}

// Append adds a node at the end and returns it with its ID set.
func (f *Func) Append(n *Node) *Node {
	f.number(n)
	f.Nodes = append(f.Nodes, n)
	return n
}

// InsertBefore adds nodes before mark.
func (f *Func) InsertBefore(mark *Node, nodes ...*Node) {
	for i, n := range f.Nodes {
		if n == mark {
			for _, add := range nodes {
				f.number(add)
			}
			f.Nodes = append(f.Nodes[:i:i], append(nodes, f.Nodes[i:]...)...)
			return
		}
	}
	panic("llima: internal error: ir: insertion mark is not in the function")
}

func (f *Func) number(n *Node) {
	n.ID = f.nextID
	f.nextID++
}

// Users returns, for every node, the nodes that have it as an argument, in
// order; a node that uses a value twice stands twice.
func (f *Func) Users() map[*Node][]*Node {
	users := make(map[*Node][]*Node, len(f.Nodes))
	for _, n := range f.Nodes {
		for _, a := range n.Args {
			users[a] = append(users[a], n)
		}
	}
	return users
}

// Replace makes every user of old use to instead.
func (f *Func) Replace(old, to *Node) {
	for _, n := range f.Nodes {
		if n == to {
			continue
		}
		for i, a := range n.Args {
			if a == old {
				n.Args[i] = to
			}
		}
	}
}
