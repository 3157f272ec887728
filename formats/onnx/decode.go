package onnx

import (
	"fmt"
	"strconv"
)

// maxBytes is the size that a protobuf message may not exceed.
const maxBytes = 1<<31 - 1

// Decode reads a ModelProto that uses what [Model] can hold. Raw data is not
// copied: it aliases b. The data of every tensor, inline or external, has the
// size that its type and shape ask for.
//
// Doc strings, versions of the producer, metadata of graphs, nodes and
// tensors, and fields that onnx.proto does not have are passed over, and are
// lost when the model is written again. What would change the meaning of the
// model is an error: another domain's operator sets or nodes, functions,
// subgraphs, sparse tensors, symbolic dimensions, types other than tensors,
// and tensors with typed instead of raw data.
func Decode(b []byte) (*Model, error) {
	if len(b) > maxBytes {
		return nil, fmt.Errorf("onnx: offset 0: %d bytes exceed the 2 GiB of a protobuf message", len(b))
	}
	r := &reader{data: b, end: len(b)}
	m := &Model{}
	var irVersion int64
	var graphs, opsets int
	err := r.each(func(f field) (err error) {
		switch f.n {
		case modelIRVersion:
			irVersion, err = r.integer(f)
			if err == nil && (irVersion < 3 || irVersion > IRVersion) {
				err = r.fail(f.offset, "IR version %d is not between 3 and %d", irVersion, IRVersion)
			}
		case modelProducer:
			m.Producer, err = r.text(f)
		case modelGraph:
			graphs++
			if graphs > 1 {
				return r.fail(f.offset, "a second graph")
			}
			err = decodeGraph(r, f, &m.Graph)
		case modelOpset:
			opsets++
			if opsets > 1 {
				return r.fail(f.offset, "a second operator set; only the default domain's is supported")
			}
			m.Opset, err = decodeOpset(r, f)
		case modelMetadata:
			var p Property
			p, err = decodeEntry(r, f, "metadata_props", len(m.Metadata))
			m.Metadata = append(m.Metadata, p)
		case modelTraining:
			err = r.fail(f.offset, "training information is not supported")
		case modelFunctions:
			err = r.fail(f.offset, "functions are not supported")
		}
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case irVersion == 0:
		return nil, r.fail(0, "no IR version")
	case graphs == 0:
		return nil, r.fail(0, "no graph")
	case opsets == 0:
		return nil, r.fail(0, "no operator set")
	}
	return m, nil
}

func decodeOpset(parent *reader, f field) (version int64, err error) {
	r, err := parent.sub(f, "opset_import")
	if err != nil {
		return 0, err
	}
	err = r.each(func(f field) (err error) {
		switch f.n {
		case opsetDomain:
			err = r.defaultDomain(f)
		case opsetVersion:
			version, err = r.integer(f)
		}
		return err
	})
	return version, err
}

// defaultDomain checks a domain: "ai.onnx" is the same as none.
func (r *reader) defaultDomain(f field) error {
	domain, err := r.text(f)
	if err == nil && domain != "" && domain != "ai.onnx" {
		err = r.fail(f.offset, "domain %q is not supported", domain)
	}
	return err
}

func decodeEntry(parent *reader, f field, name string, index int) (p Property, err error) {
	r, err := parent.sub(f, indexed(name, index))
	if err != nil {
		return p, err
	}
	err = r.each(func(f field) (err error) {
		switch f.n {
		case entryKey:
			p.Key, err = r.text(f)
		case entryValue:
			p.Value, err = r.text(f)
		}
		return err
	})
	return p, err
}

func indexed(name string, index int) string { return name + "[" + strconv.Itoa(index) + "]" }

func decodeGraph(parent *reader, f field, g *Graph) error {
	r, err := parent.sub(f, "graph")
	if err != nil {
		return err
	}
	return r.each(func(f field) (err error) {
		switch f.n {
		case graphNode:
			var n Node
			n, err = decodeNode(r, f, len(g.Nodes))
			g.Nodes = append(g.Nodes, n)
		case graphName:
			g.Name, err = r.text(f)
		case graphInitializer:
			var t Tensor
			t, err = decodeTensor(r, f, len(g.Initializers))
			g.Initializers = append(g.Initializers, t)
		case graphInput:
			g.Inputs, err = decodeValue(r, f, "input", g.Inputs)
		case graphOutput:
			g.Outputs, err = decodeValue(r, f, "output", g.Outputs)
		case graphValueInfo:
			g.Values, err = decodeValue(r, f, "value_info", g.Values)
		case graphSparse:
			err = r.fail(f.offset, "sparse initializers are not supported")
		}
		return err
	})
}

func decodeNode(parent *reader, f field, index int) (n Node, err error) {
	r, err := parent.sub(f, indexed("node", index))
	if err != nil {
		return n, err
	}
	err = r.each(func(f field) (err error) {
		var s string
		switch f.n {
		case nodeInput:
			s, err = r.text(f)
			n.Inputs = append(n.Inputs, s)
		case nodeOutput:
			s, err = r.text(f)
			n.Outputs = append(n.Outputs, s)
		case nodeName:
			n.Name, err = r.text(f)
		case nodeOpType:
			n.Op, err = r.text(f)
		case nodeAttr:
			var a Attr
			a, err = decodeAttr(r, f, len(n.Attrs))
			n.Attrs = append(n.Attrs, a)
		case nodeDomain:
			err = r.defaultDomain(f)
		case nodeOverload:
			s, err = r.text(f)
			if err == nil && s != "" {
				err = r.fail(f.offset, "overload %q is not supported", s)
			}
		}
		return err
	})
	return n, err
}

func decodeAttr(parent *reader, f field, index int) (a Attr, err error) {
	r, err := parent.sub(f, indexed("attribute", index))
	if err != nil {
		return a, err
	}
	start := f.offset
	err = r.each(func(f field) (err error) {
		switch f.n {
		case attrName:
			a.Name, err = r.text(f)
		case attrFloat:
			a.Float, err = r.float(f)
		case attrInt:
			a.Int, err = r.integer(f)
		case attrString:
			a.Str, err = r.text(f)
		case attrFloats:
			a.Floats, err = r.floats(a.Floats, f)
		case attrInts:
			a.Ints, err = r.integers(a.Ints, f)
		case attrType:
			var kind int32
			kind, err = r.enum(f)
			a.Kind = AttrKind(kind)
		case attrRefName:
			err = r.fail(f.offset, "references to attributes are not supported")
		}
		return err
	})
	if err != nil {
		return a, err
	}
	return keepKind(a, r, start)
}

// keepKind drops the values that the attribute's kind does not speak of.
func keepKind(a Attr, r *reader, offset int) (Attr, error) {
	kept := Attr{Name: a.Name, Kind: a.Kind}
	switch a.Kind {
	case AttrFloat:
		kept.Float = a.Float
	case AttrInt:
		kept.Int = a.Int
	case AttrString:
		kept.Str = a.Str
	case AttrFloats:
		kept.Floats = a.Floats
	case AttrInts:
		kept.Ints = a.Ints
	default:
		return a, r.fail(offset, "attribute %q: type %d is not supported", a.Name, int32(a.Kind))
	}
	return kept, nil
}
