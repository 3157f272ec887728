// Package onnx reads and writes ONNX models: the protobuf messages of the
// ONNX IR (onnx.proto, IR version 11) as far as llima emits them. It knows
// nothing of what a graph means.
package onnx

// DataType is TensorProto.DataType.
type DataType int32

// The data types that llima uses, with the numbers of onnx.proto.
const (
	Undefined DataType = 0
	Float     DataType = 1
	Uint8     DataType = 2
	Int8      DataType = 3
	Int32     DataType = 6
	Int64     DataType = 7
	Bool      DataType = 9
	Float16   DataType = 10
	BFloat16  DataType = 16
	Uint4     DataType = 21
	Int4      DataType = 22
)

// Model is ModelProto with one operator set, the default domain's.
type Model struct {
	Opset    int64
	Producer string
	Graph    Graph
	Metadata []Property // in order
}

// Property is one entry of metadata_props.
type Property struct{ Key, Value string }

// Graph is GraphProto. Nodes are in topological order.
type Graph struct {
	Name         string
	Nodes        []Node
	Initializers []Tensor
	Inputs       []ValueInfo
	Outputs      []ValueInfo
	Values       []ValueInfo // types of intermediate values
}

// Node is NodeProto. An empty input name stands for an absent optional input.
type Node struct {
	Name    string
	Op      string
	Inputs  []string
	Outputs []string
	Attrs   []Attr
}

// AttrKind is AttributeProto.AttributeType.
type AttrKind int32

// The attribute kinds that llima uses.
const (
	AttrFloat  AttrKind = 1
	AttrInt    AttrKind = 2
	AttrString AttrKind = 3
	AttrFloats AttrKind = 6
	AttrInts   AttrKind = 7
)

// Attr is AttributeProto; Kind says which of the values holds.
type Attr struct {
	Name   string
	Kind   AttrKind
	Float  float32
	Int    int64
	Str    string
	Floats []float32
	Ints   []int64
}

// Tensor is TensorProto: its bytes are inline (Raw) or elsewhere (External),
// little-endian; 4-bit elements are packed two a byte, the first in the low half.
type Tensor struct {
	Name     string
	DType    DataType
	Dims     []int64
	Raw      []byte
	External *External
}

// External says where a tensor's bytes are.
type External struct {
	Location string // relative to the folder of the .onnx file, slashes
	Offset   int64  // bytes
	Length   int64  // bytes
}

// ValueInfo is ValueInfoProto: a name with its type and shape.
type ValueInfo struct {
	Name  string
	DType DataType
	Dims  []int64
}
