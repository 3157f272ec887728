package onnx

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

func decodeTensor(parent *reader, f field, index int) (t Tensor, err error) {
	r, err := parent.sub(f, indexed("initializer", index))
	if err != nil {
		return t, err
	}
	start := f.offset
	var location int32
	var entries []Property
	err = r.each(func(f field) (err error) {
		switch f.n {
		case tensorDims:
			t.Dims, err = r.integers(t.Dims, f)
		case tensorDataType:
			var dtype int32
			dtype, err = r.enum(f)
			t.DType = DataType(dtype)
		case tensorName:
			t.Name, err = r.text(f)
		case tensorRawData:
			t.Raw, err = r.bytes(f)
		case tensorExternalData:
			var p Property
			p, err = decodeEntry(r, f, "external_data", len(entries))
			entries = append(entries, p)
		case tensorDataLocation:
			location, err = r.enum(f)
		case tensorSegment:
			err = r.fail(f.offset, "segments are not supported")
		case tensorFloatData, tensorInt32Data, tensorStringData, tensorInt64Data, tensorDoubleData, tensorUint64Data:
			if f.wire != protowire.BytesType || f.lo < f.hi {
				err = r.fail(f.offset, "field %d: data must be in raw_data", f.n)
			}
		}
		return err
	})
	if err != nil {
		return t, err
	}
	if err := t.place(location, entries); err != nil {
		return t, r.fail(start, "tensor %q: %w", t.Name, err)
	}
	return t, nil
}

// place sets External from the entries of external_data, and checks that the
// data have the size that type and shape ask for.
func (t *Tensor) place(location int32, entries []Property) error {
	want, err := t.SizeBytes()
	if err != nil {
		return err
	}
	switch {
	case location == 0 && len(entries) > 0:
		return fmt.Errorf("external_data without data_location EXTERNAL")
	case location == 0:
		if int64(len(t.Raw)) != want {
			return fmt.Errorf("%d bytes of raw_data, want %d for %v of %v", len(t.Raw), want, t.Dims, t.DType)
		}
		if want == 0 {
			t.Raw = nil
		}
		return nil
	case location != locationExternal:
		return fmt.Errorf("data location %d is not supported", location)
	case t.Raw != nil:
		return fmt.Errorf("both raw_data and external data")
	}
	ext, err := parseExternal(entries, want)
	if err != nil {
		return err
	}
	if ext.Length != want {
		return fmt.Errorf("external length %d, want %d for %v of %v", ext.Length, want, t.Dims, t.DType)
	}
	t.External = ext
	return nil
}

// parseExternal reads location, offset and length; without a length it is
// sizeBytes. Other keys are passed over.
func parseExternal(entries []Property, sizeBytes int64) (*External, error) {
	ext := &External{Length: sizeBytes}
	seen := map[string]bool{}
	for _, e := range entries {
		if seen[e.Key] {
			return nil, fmt.Errorf("external_data has %q twice", e.Key)
		}
		seen[e.Key] = true
		var err error
		switch e.Key {
		case "location":
			ext.Location = e.Value
		case "offset":
			ext.Offset, err = strconv.ParseInt(e.Value, 10, 64)
		case "length":
			ext.Length, err = strconv.ParseInt(e.Value, 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("external_data %s %q is not a number", e.Key, e.Value)
		}
	}
	switch {
	case ext.Location == "":
		return nil, fmt.Errorf("external_data has no location")
	case ext.Offset < 0:
		return nil, fmt.Errorf("external offset %d is negative", ext.Offset)
	case ext.Offset+ext.Length < 0:
		return nil, fmt.Errorf("external offset %d is too large", ext.Offset)
	}
	return ext, nil
}

func decodeValue(parent *reader, f field, name string, list []ValueInfo) ([]ValueInfo, error) {
	r, err := parent.sub(f, indexed(name, len(list)))
	if err != nil {
		return nil, err
	}
	start := f.offset
	var v ValueInfo
	types := 0
	err = r.each(func(f field) (err error) {
		switch f.n {
		case valueName:
			v.Name, err = r.text(f)
		case valueType:
			types++
			err = decodeType(r, f, &v)
		}
		return err
	})
	if err == nil && types != 1 {
		err = r.fail(start, "value %q has %d types, want one", v.Name, types)
	}
	return append(list, v), err
}

func decodeType(parent *reader, f field, v *ValueInfo) error {
	r, err := parent.sub(f, "type")
	if err != nil {
		return err
	}
	start, tensors := f.offset, 0
	err = r.each(func(f field) error {
		switch f.n {
		case typeTensor:
			tensors++
			return decodeTensorType(r, f, v)
		case typeDenotation:
			return nil
		}
		return r.fail(f.offset, "field %d: only tensor types are supported", f.n)
	})
	if err == nil && tensors != 1 {
		err = r.fail(start, "%d tensor types, want one", tensors)
	}
	return err
}

func decodeTensorType(parent *reader, f field, v *ValueInfo) error {
	r, err := parent.sub(f, "tensor_type")
	if err != nil {
		return err
	}
	start, shapes := f.offset, 0
	err = r.each(func(f field) (err error) {
		switch f.n {
		case tensorTypeElem:
			var dtype int32
			dtype, err = r.enum(f)
			v.DType = DataType(dtype)
		case tensorTypeShape:
			shapes++
			err = decodeShape(r, f, v)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case shapes != 1:
		return r.fail(start, "%d shapes, want one", shapes)
	case v.DType.Bits() == 0:
		return r.fail(start, "data type %v is not supported", v.DType)
	}
	return nil
}

func decodeShape(parent *reader, f field, v *ValueInfo) error {
	r, err := parent.sub(f, "shape")
	if err != nil {
		return err
	}
	return r.each(func(f field) error {
		if f.n != shapeDim {
			return nil
		}
		dim, err := r.sub(f, indexed("dim", len(v.Dims)))
		if err != nil {
			return err
		}
		value := int64(-1)
		err = dim.each(func(f field) (err error) {
			if f.n == dimValue {
				value, err = dim.integer(f)
			}
			return err
		})
		if err == nil && value < 0 {
			err = dim.fail(f.offset, "the dimension is not a number of elements")
		}
		v.Dims = append(v.Dims, value)
		return err
	})
}
