package onnx_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/llima-build/llima/formats/onnx"
)

// msg builds a message field by field, legal or not.
type msg []byte

func (m msg) varint(n protowire.Number, v uint64) msg {
	return protowire.AppendVarint(protowire.AppendTag(m, n, protowire.VarintType), v)
}

func (m msg) fixed32(n protowire.Number, v uint32) msg {
	return protowire.AppendFixed32(protowire.AppendTag(m, n, protowire.Fixed32Type), v)
}

func (m msg) fixed64(n protowire.Number, v uint64) msg {
	return protowire.AppendFixed64(protowire.AppendTag(m, n, protowire.Fixed64Type), v)
}

func (m msg) bytes(n protowire.Number, b []byte) msg {
	return protowire.AppendBytes(protowire.AppendTag(m, n, protowire.BytesType), b)
}

func (m msg) str(n protowire.Number, s string) msg { return m.bytes(n, []byte(s)) }

// model wraps a graph; head is what every model needs besides.
func model(graph msg) msg { return head().bytes(7, graph) }

func head() msg { return msg{}.varint(1, 11).bytes(8, msg{}.varint(2, 23)) }

func initializer(t msg) msg { return model(msg{}.bytes(5, t)) }

func attribute(a msg) msg { return model(msg{}.bytes(1, msg{}.bytes(5, a))) }

func input(typ msg) msg { return model(msg{}.bytes(11, msg{}.str(1, "x").bytes(2, typ))) }

func external(entries ...string) msg {
	t := msg{}.varint(1, 6).varint(2, 1).str(8, "w")
	for i := 0; i < len(entries); i += 2 {
		t = t.bytes(13, msg{}.str(1, entries[i]).str(2, entries[i+1]))
	}
	return initializer(t.varint(14, 1))
}

func TestDecodeRefuses(t *testing.T) {
	graph := msg{}
	tests := []struct {
		name string
		in   []byte
		want string
	}{
		{"empty", nil, "onnx: offset 0: no IR version"},
		{"no graph", head(), "onnx: offset 0: no graph"},
		{"no opset", msg{}.varint(1, 11).bytes(7, graph), "onnx: offset 0: no operator set"},
		{"newer IR", msg{}.varint(1, 12), "onnx: offset 0: IR version 12 is not between 3 and 11"},
		{"older IR", msg{}.varint(1, 2), "onnx: offset 0: IR version 2 is not between 3 and 11"},
		{"two graphs", model(graph).bytes(7, graph), "onnx: offset 8: a second graph"},
		{"two opsets", model(graph).bytes(8, nil), "onnx: offset 8: a second operator set"},
		{"opset domain", head()[:2].bytes(8, msg{}.str(1, "com.microsoft")), `onnx: opset_import: offset 4: domain "com.microsoft" is not supported`},
		{"node domain", model(msg{}.bytes(1, msg{}.str(7, "x"))), `onnx: graph.node[0]: offset 10: domain "x" is not supported`},
		{"node overload", model(msg{}.bytes(1, msg{}.str(8, "x"))), `overload "x" is not supported`},
		{"training", model(graph).bytes(20, nil), "training information is not supported"},
		{"functions", model(graph).bytes(25, nil), "functions are not supported"},
		{"sparse", model(msg{}.bytes(15, nil)), "sparse initializers are not supported"},

		{"trailing zero", append(model(graph), 0), "onnx: offset 8: bad tag: "},
		{"trailing byte", append(model(graph), 8), "onnx: offset 8: field 1: unexpected EOF"},
		{"truncated", head()[:3], "onnx: offset 2: field 8: unexpected EOF"},
		{"field past the end", protowire.AppendVarint(protowire.AppendTag(nil, 7, protowire.BytesType), 1<<62), "onnx: offset 0: field 7: unexpected EOF"},
		{"field past its parent", append(model(append(msg{}, 0x12, 5, 'a')), "more"...), "onnx: graph: offset 8: field 2: unexpected EOF"},
		{"long varint", append(protowire.AppendTag(nil, 1, protowire.VarintType), bytes.Repeat([]byte{0xff}, 11)...), "onnx: offset 0: field 1: malformed"},
		{"group", protowire.AppendTag(nil, 900, protowire.StartGroupType), "onnx: offset 0: field 900 is a group"},
		{"end of group", protowire.AppendTag(nil, 900, protowire.EndGroupType), "field 900 is a group"},
		{"wire type 6", protowire.AppendTag(nil, 900, 6), "onnx: offset 0: field 900 has wire type 6"},
		{"wire type 7", protowire.AppendTag(nil, 1, 7), "onnx: offset 0: field 1 has wire type 7"},
		{"IR version as string", msg{}.str(1, "x"), "onnx: offset 0: field 1 has wire type 2, want 0"},
		{"graph as number", msg{}.varint(7, 0), "onnx: offset 0: field 7 has wire type 0, want 2"},
		{"name as fixed64", model(msg{}.fixed64(2, 0)), "field 2 has wire type 1, want 2"},

		{"attribute without type", attribute(msg{}.str(1, "a")), `attribute "a": type 0 is not supported`},
		{"tensor attribute", attribute(msg{}.str(1, "a").varint(20, 4)), `onnx: graph.node[0].attribute[0]: offset 10: attribute "a": type 4 is not supported`},
		{"attribute reference", attribute(msg{}.str(21, "a")), "references to attributes are not supported"},
		{"float as varint", attribute(msg{}.varint(2, 0)), "field 2 has wire type 0, want 5"},
		{"int as float", attribute(msg{}.fixed32(3, 0)), "field 3 has wire type 5, want 0"},
		{"ragged packed floats", attribute(msg{}.str(7, "12345")), "field 7: unexpected EOF"},
		{"open packed int", attribute(msg{}.str(8, "\x01\xff")), "field 8: unexpected EOF"},
		{"enum past int32", attribute(msg{}.varint(20, 1<<32)), "field 20: 4294967296 is not an enum value"},

		{"no data type", initializer(msg{}.str(8, "w")), `onnx: graph.initializer[0]: offset 8: tensor "w": data type UNDEFINED is not supported`},
		{"unknown data type", initializer(msg{}.varint(2, 17)), "data type DataType(17) is not supported"},
		{"negative dim", initializer(msg{}.varint(1, 1<<63).varint(2, 1)), "dimension 0 is negative"},
		{"huge dims", initializer(msg{}.str(1, "\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x08").varint(2, 1)), "too large"},
		{"short raw data", initializer(msg{}.varint(1, 2).varint(2, 1).str(9, "1234567")), "7 bytes of raw_data, want 8 for [2] of FLOAT"},
		{"long raw data", initializer(msg{}.varint(1, 3).varint(2, 22).str(9, "123")), "3 bytes of raw_data, want 2 for [3] of INT4"},
		{"no raw data", initializer(msg{}.varint(1, 1<<40).varint(2, 1)), "0 bytes of raw_data, want 4398046511104"},
		{"float_data", initializer(msg{}.varint(2, 1).fixed32(4, 0)), "field 4: data must be in raw_data"},
		{"int64_data", initializer(msg{}.varint(2, 7).str(7, "\x01")), "field 7: data must be in raw_data"},
		{"segment", initializer(msg{}.bytes(3, nil)), "segments are not supported"},
		{"data location", initializer(msg{}.varint(2, 1).varint(14, 2)), "data location 2 is not supported"},
		{"entries without location", initializer(msg{}.varint(2, 1).bytes(13, nil)), "external_data without data_location EXTERNAL"},
		{"raw and external", initializer(msg{}.varint(2, 1).str(9, "1234").varint(14, 1)), "both raw_data and external data"},
		{"no location", external("offset", "0"), `tensor "w": external_data has no location`},
		{"location twice", external("location", "a", "location", "b"), `external_data has "location" twice`},
		{"bad offset", external("location", "a", "offset", "0x10"), `external_data offset "0x10" is not a number`},
		{"negative offset", external("location", "a", "offset", "-1"), "external offset -1 is negative"},
		{"huge offset", external("location", "a", "offset", "9223372036854775800"), "external offset 9223372036854775800 is too large"},
		{"bad length", external("location", "a", "length", ""), `external_data length "" is not a number`},
		{"wrong length", external("location", "a", "length", "25"), "external length 25, want 24 for [6] of FLOAT"},

		{"no type", model(msg{}.bytes(11, msg{}.str(1, "x"))), `onnx: graph.input[0]: offset 8: value "x" has 0 types, want one`},
		{"sequence", input(msg{}.bytes(4, nil)), "onnx: graph.input[0].type: offset 15: field 4: only tensor types are supported"},
		{"no tensor type", input(nil), "0 tensor types, want one"},
		{"no shape", input(msg{}.bytes(1, msg{}.varint(1, 1))), "0 shapes, want one"},
		{"no element type", input(msg{}.bytes(1, msg{}.bytes(2, nil))), "data type UNDEFINED is not supported"},
		{"symbolic dimension", input(msg{}.bytes(1, msg{}.varint(1, 1).bytes(2, msg{}.bytes(1, msg{}.str(2, "N"))))), "onnx: graph.input[0].type.tensor_type.shape.dim[0]: offset 21: the dimension is not a number of elements"},
		{"negative dimension", input(msg{}.bytes(1, msg{}.varint(1, 1).bytes(2, msg{}.bytes(1, msg{}.varint(1, 1<<63))))), "not a number of elements"},
	}
	for _, tt := range tests {
		m, err := onnx.Decode(tt.in)
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "onnx: ") {
			t.Errorf("%s: Decode() = %v, %v, want error %q", tt.name, m, err, tt.want)
		}
	}
}

func TestDecodeAccepts(t *testing.T) {
	// Packed repeated fields, fields out of order, unknown ones, and the
	// optional pieces that other writers leave out or add.
	in := head().str(3, "1.0").varint(99, 1).fixed64(98, 1).fixed32(97, 1)
	in = in.bytes(7, msg{}.
		bytes(5, msg{}.str(9, "1234").str(8, "w").varint(2, 3).str(1, "\x02\x02").str(4, "")).
		bytes(5, msg{}.varint(1, 6).varint(2, 1).varint(14, 1).
			bytes(13, msg{}.str(1, "checksum").str(2, "00")).bytes(13, msg{}.str(1, "location").str(2, "w.bin"))).
		bytes(1, msg{}.str(4, "Op").str(7, "ai.onnx").str(6, "doc").
			bytes(5, msg{}.str(8, "\x01\x02").varint(20, 7).varint(3, 5).str(1, "a"))))
	want := &onnx.Model{Opset: 23, Graph: onnx.Graph{
		Nodes: []onnx.Node{{Op: "Op", Attrs: []onnx.Attr{{Name: "a", Kind: onnx.AttrInts, Ints: []int64{1, 2}}}}},
		Initializers: []onnx.Tensor{
			{Name: "w", DType: onnx.Int8, Dims: []int64{2, 2}, Raw: []byte("1234")},
			{DType: onnx.Float, Dims: []int64{6}, External: &onnx.External{Location: "w.bin", Length: 24}},
		},
	}}
	got, err := onnx.Decode(in)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("Decode() = %+v, want %+v", got, want)
	}
	if raw := got.Graph.Initializers[0].Raw; &raw[0] != &in[bytes.Index(in, []byte("1234"))] {
		t.Error("raw data were copied")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(sample().Encode())
	f.Add(every().Encode())
	f.Add([]byte(external("location", "a")))
	f.Add([]byte(attribute(msg{}.str(1, "a").str(7, "12345678").varint(20, 6))))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := onnx.Decode(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "onnx: ") || !strings.Contains(err.Error(), "offset ") {
				t.Errorf("error %q names no offset", err)
			}
			return
		}
		again := m.Encode()
		m2, err := onnx.Decode(again)
		if err != nil {
			t.Fatalf("Decode(Encode(Decode())): %v", err)
		}
		if !bytes.Equal(again, m2.Encode()) {
			t.Error("Encode is not stable")
		}
	})
}

// FuzzRoundTrip builds a model from the input and wants it back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("a seed of some length, so that every message is drawn at least once: 0123456789"))
	f.Add(bytes.Repeat([]byte{1, 5, 9, 200, 17}, 60))
	f.Fuzz(func(t *testing.T, seed []byte) {
		m := draw(seed)
		got, err := onnx.Decode(m.Encode())
		if err != nil {
			t.Fatalf("Decode(Encode(%+v)): %v", m, err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("Decode(Encode(m)) = %+v, want %+v", got, m)
		}
	})
}

// drawer takes decisions from a fuzzer's bytes, zeros past their end.
type drawer []byte

func (d *drawer) byte() byte {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return b
}

func (d *drawer) text() string {
	n := min(int(d.byte()%9), len(*d))
	s := string((*d)[:n])
	*d = (*d)[n:]
	return s
}

func (d *drawer) int64() int64 {
	v := int64(d.byte())
	if v >= 128 {
		return (v << (d.byte() % 60)) * (1 - 2*(v&1))
	}
	return v
}

func repeat[T any](d *drawer, one func() T) []T {
	var list []T
	for range d.byte() % 4 {
		list = append(list, one())
	}
	return list
}

func draw(seed []byte) *onnx.Model {
	d := drawer(seed)
	m := &onnx.Model{Opset: d.int64(), Producer: d.text()}
	m.Graph.Name = d.text()
	m.Graph.Nodes = repeat(&d, func() onnx.Node {
		return onnx.Node{
			Name: d.text(), Op: d.text(), Inputs: repeat(&d, d.text), Outputs: repeat(&d, d.text),
			Attrs: repeat(&d, d.attr),
		}
	})
	m.Graph.Initializers = repeat(&d, d.tensor)
	m.Graph.Inputs = repeat(&d, d.value)
	m.Graph.Outputs = repeat(&d, d.value)
	m.Graph.Values = repeat(&d, d.value)
	m.Metadata = repeat(&d, func() onnx.Property { return onnx.Property{Key: d.text(), Value: d.text()} })
	return m
}

func (d *drawer) attr() onnx.Attr {
	a := onnx.Attr{Name: d.text()}
	switch d.byte() % 5 {
	case 0:
		a.Kind, a.Float = onnx.AttrFloat, float32(d.int64())
	case 1:
		a.Kind, a.Int = onnx.AttrInt, d.int64()
	case 2:
		a.Kind, a.Str = onnx.AttrString, d.text()
	case 3:
		a.Kind, a.Floats = onnx.AttrFloats, repeat(d, func() float32 { return float32(d.int64()) / 3 })
	case 4:
		a.Kind, a.Ints = onnx.AttrInts, repeat(d, d.int64)
	}
	return a
}

func (d *drawer) dtype() onnx.DataType { return dtypes[int(d.byte())%len(dtypes)] }

func (d *drawer) tensor() onnx.Tensor {
	t := onnx.Tensor{Name: d.text(), DType: d.dtype(), Dims: repeat(d, func() int64 { return int64(d.byte() % 8) })}
	size, err := t.SizeBytes()
	if err != nil {
		panic(err)
	}
	if d.byte()%2 == 0 {
		t.External = &onnx.External{Location: "w" + d.text(), Offset: max(0, d.int64()>>1), Length: size}
	} else if size > 0 {
		t.Raw = bytes.Repeat([]byte{d.byte()}, int(size))
	}
	return t
}

func (d *drawer) value() onnx.ValueInfo {
	return onnx.ValueInfo{Name: d.text(), DType: d.dtype(), Dims: repeat(d, func() int64 { return max(0, d.int64()) })}
}
