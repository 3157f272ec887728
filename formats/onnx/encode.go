package onnx

import (
	"math"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// IRVersion is the version of the ONNX IR that [Model.Encode] states; it is
// the one that operator set 23 came with.
const IRVersion = 11

// The field numbers of onnx.proto, by message.
const (
	modelIRVersion = 1
	modelProducer  = 2
	modelGraph     = 7
	modelOpset     = 8
	modelMetadata  = 14
	modelTraining  = 20
	modelFunctions = 25

	opsetDomain  = 1
	opsetVersion = 2

	entryKey   = 1
	entryValue = 2

	graphNode        = 1
	graphName        = 2
	graphInitializer = 5
	graphInput       = 11
	graphOutput      = 12
	graphValueInfo   = 13
	graphSparse      = 15

	nodeInput    = 1
	nodeOutput   = 2
	nodeName     = 3
	nodeOpType   = 4
	nodeAttr     = 5
	nodeDomain   = 7
	nodeOverload = 8

	attrName    = 1
	attrFloat   = 2
	attrInt     = 3
	attrString  = 4
	attrFloats  = 7
	attrInts    = 8
	attrType    = 20
	attrRefName = 21

	tensorDims         = 1
	tensorDataType     = 2
	tensorSegment      = 3
	tensorFloatData    = 4
	tensorInt32Data    = 5
	tensorStringData   = 6
	tensorInt64Data    = 7
	tensorName         = 8
	tensorRawData      = 9
	tensorDoubleData   = 10
	tensorUint64Data   = 11
	tensorExternalData = 13
	tensorDataLocation = 14

	valueName = 1
	valueType = 2

	typeTensor      = 1
	typeDenotation  = 6
	tensorTypeElem  = 1
	tensorTypeShape = 2
	shapeDim        = 1
	dimValue        = 1
)

const locationExternal = 1 // TensorProto.DataLocation.EXTERNAL

// Encode returns the model as a ModelProto. Fields stand in ascending order of
// their numbers and nothing depends on maps, so that equal models give equal
// bytes. An attribute is written by its Kind; a tensor with External has no
// raw data.
func (m *Model) Encode() []byte {
	var b message
	b.integer(modelIRVersion, IRVersion)
	if m.Producer != "" {
		b.text(modelProducer, m.Producer)
	}
	b.sub(modelGraph, m.Graph.encode())
	var opset message
	opset.text(opsetDomain, "")
	opset.integer(opsetVersion, m.Opset)
	b.sub(modelOpset, opset)
	for _, p := range m.Metadata {
		b.entry(modelMetadata, p.Key, p.Value)
	}
	return b
}

// message is a protobuf message under construction.
type message []byte

func (b *message) text(n protowire.Number, s string) {
	*b = protowire.AppendString(protowire.AppendTag(*b, n, protowire.BytesType), s)
}

func (b *message) integer(n protowire.Number, v int64) {
	*b = protowire.AppendVarint(protowire.AppendTag(*b, n, protowire.VarintType), uint64(v))
}

func (b *message) float(n protowire.Number, f float32) {
	*b = protowire.AppendFixed32(protowire.AppendTag(*b, n, protowire.Fixed32Type), math.Float32bits(f))
}

func (b *message) sub(n protowire.Number, s []byte) {
	*b = protowire.AppendBytes(protowire.AppendTag(*b, n, protowire.BytesType), s)
}

func (b *message) entry(n protowire.Number, key, value string) {
	var e message
	e.text(entryKey, key)
	e.text(entryValue, value)
	b.sub(n, e)
}

func (g *Graph) encode() message {
	var b message
	for i := range g.Nodes {
		b.sub(graphNode, g.Nodes[i].encode())
	}
	b.text(graphName, g.Name)
	for i := range g.Initializers {
		b.sub(graphInitializer, g.Initializers[i].encode())
	}
	for i := range g.Inputs {
		b.sub(graphInput, g.Inputs[i].encode())
	}
	for i := range g.Outputs {
		b.sub(graphOutput, g.Outputs[i].encode())
	}
	for i := range g.Values {
		b.sub(graphValueInfo, g.Values[i].encode())
	}
	return b
}

func (n *Node) encode() message {
	var b message
	for _, s := range n.Inputs {
		b.text(nodeInput, s)
	}
	for _, s := range n.Outputs {
		b.text(nodeOutput, s)
	}
	if n.Name != "" {
		b.text(nodeName, n.Name)
	}
	b.text(nodeOpType, n.Op)
	for i := range n.Attrs {
		b.sub(nodeAttr, n.Attrs[i].encode())
	}
	return b
}

func (a *Attr) encode() message {
	var b message
	b.text(attrName, a.Name)
	switch a.Kind {
	case AttrFloat:
		b.float(attrFloat, a.Float)
	case AttrInt:
		b.integer(attrInt, a.Int)
	case AttrString:
		b.text(attrString, a.Str)
	case AttrFloats:
		for _, f := range a.Floats {
			b.float(attrFloats, f)
		}
	case AttrInts:
		for _, v := range a.Ints {
			b.integer(attrInts, v)
		}
	}
	b.integer(attrType, int64(a.Kind))
	return b
}

func (t *Tensor) encode() message {
	var b message
	for _, d := range t.Dims {
		b.integer(tensorDims, d)
	}
	b.integer(tensorDataType, int64(t.DType))
	b.text(tensorName, t.Name)
	if t.External == nil {
		b.sub(tensorRawData, t.Raw)
		return b
	}
	b.entry(tensorExternalData, "location", t.External.Location)
	b.entry(tensorExternalData, "offset", strconv.FormatInt(t.External.Offset, 10))
	b.entry(tensorExternalData, "length", strconv.FormatInt(t.External.Length, 10))
	b.integer(tensorDataLocation, locationExternal)
	return b
}

func (v *ValueInfo) encode() message {
	var shape message
	for _, d := range v.Dims {
		var dim message
		dim.integer(dimValue, d)
		shape.sub(shapeDim, dim)
	}
	var tensorType message
	tensorType.integer(tensorTypeElem, int64(v.DType))
	tensorType.sub(tensorTypeShape, shape)
	var typ message
	typ.sub(typeTensor, tensorType)
	var b message
	b.text(valueName, v.Name)
	b.sub(valueType, typ)
	return b
}
