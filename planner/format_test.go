package planner_test

import (
	"testing"

	"github.com/llima-build/llima/hcl/config"
	"github.com/llima-build/llima/planner"
	"github.com/llima-build/llima/quant"
)

// TestFormatOf holds how precision, block and calibration decide formats and
// methods.
func TestFormatOf(t *testing.T) {
	int8Channel, int4g32, bf16 := quant.Format{Bits: 8}, quant.Format{Bits: 4, GroupSize: 32}, quant.Format{Bits: 16}
	grouped := &config.Quantization{GroupSize: map[config.Precision]int{config.INT8: 64, config.INT4: config.PerChannel}, Head: config.INT8}
	chosen := &config.Quantization{Method: map[config.Precision]config.Method{config.INT8: config.Search, config.INT4: config.Nearest}, Head: config.BF16}
	usual := &config.Quantization{Method: map[config.Precision]config.Method{config.INT8: config.Nearest, config.INT4: config.Search}}
	data := &config.Calibration{}
	for _, c := range []struct {
		model     config.Model
		precision config.Precision
		matrix    quant.Format
		head      quant.Format
		method    config.Method
	}{
		{config.Model{}, config.BF16, bf16, bf16, ""},
		{config.Model{}, config.INT8, int8Channel, int8Channel, config.Search},
		{config.Model{}, config.INT4, int4g32, int8Channel, config.Search},
		{config.Model{Quantization: usual}, config.INT4, int4g32, quant.Format{Bits: 8, Method: quant.Nearest}, config.Search},
		{config.Model{Quantization: grouped}, config.BF16, bf16, quant.Format{Bits: 8, GroupSize: 64}, ""},
		{config.Model{Quantization: grouped}, config.INT4, quant.Format{Bits: 4}, quant.Format{Bits: 8, GroupSize: 64}, config.Search},
		{config.Model{Quantization: chosen}, config.INT8, quant.Format{Bits: 8, Method: quant.Search}, bf16, config.Search},
		{config.Model{Quantization: chosen}, config.INT4, quant.Format{Bits: 4, GroupSize: 32, Method: quant.Nearest}, bf16, config.Nearest},
		{config.Model{Calibration: data}, config.INT8, int8Channel, int8Channel, config.Calibrated},
		{config.Model{Calibration: data, Quantization: usual}, config.INT8, quant.Format{Bits: 8, Method: quant.Nearest}, quant.Format{Bits: 8, Method: quant.Nearest}, config.Nearest},
		{config.Model{Calibration: data, Quantization: grouped}, config.INT4, quant.Format{Bits: 4}, quant.Format{Bits: 8, GroupSize: 64}, config.Calibrated},
	} {
		if got := planner.FormatOf(&c.model, c.precision, false); got != c.matrix {
			t.Errorf("FormatOf(%+v, %s) = %+v, want %+v", c.model.Quantization, c.precision, got, c.matrix)
		}
		if got := planner.FormatOf(&c.model, c.precision, true); got != c.head {
			t.Errorf("FormatOf(%+v, %s) of the head = %+v, want %+v", c.model.Quantization, c.precision, got, c.head)
		}
		if got := planner.MethodOf(&c.model, c.matrix); got != c.method {
			t.Errorf("MethodOf(%+v, %s) = %q, want %q", c.model.Quantization, c.precision, got, c.method)
		}
	}
}
