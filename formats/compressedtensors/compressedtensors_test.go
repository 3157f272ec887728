package compressedtensors_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/compressedtensors"
	"github.com/llima-build/llima/formats/tensor"
)

// settings is a config.json with one group; members replace its own.
func settings(members ...string) []byte {
	q := map[string]string{
		"quant_method": `"compressed-tensors"`, "format": `"pack-quantized"`, "ignore": `["lm_head"]`,
		"config_groups": `{"g":` + scheme() + `}`,
	}
	doc := ""
	for _, m := range members {
		key, value, _ := strings.Cut(m, "=")
		if key == "vision_config" {
			doc = `,"vision_config":` + value
			continue
		}
		q[key] = value
	}
	var out []string
	for k, v := range q {
		out = append(out, fmt.Sprintf("%q:%s", k, v))
	}
	slices.Sort(out)
	return []byte(`{"quantization_config":{` + strings.Join(out, ",") + `}` + doc + `}`)
}

// scheme is a group of INT4 with groups of 4; members replace its own.
func scheme(members ...string) string {
	w := map[string]string{"num_bits": "4", "type": `"int"`, "symmetric": "true", "strategy": `"group"`, "group_size": "4", "dynamic": "false"}
	g := map[string]string{"targets": `["Linear"]`, "input_activations": "null"}
	for _, m := range members {
		key, value, _ := strings.Cut(m, "=")
		if _, ok := g[key]; ok || key == "format" || key == "output_activations" {
			g[key] = value
		} else {
			w[key] = value
		}
	}
	object := func(m map[string]string) string {
		var out []string
		for k, v := range m {
			out = append(out, fmt.Sprintf("%q:%s", k, v))
		}
		slices.Sort(out)
		return "{" + strings.Join(out, ",") + "}"
	}
	g["weights"] = object(w)
	if w["weights"] != "" {
		g["weights"] = w["weights"]
	}
	return object(g)
}

func groups(members ...string) string { return `config_groups={"g":` + scheme(members...) + `}` }

// part describes a stored tensor of module m.
func part(suffix string, dt tensor.DType, shape ...int) checkpoint.Tensor {
	return checkpoint.Tensor{Info: tensor.Info{Name: "m" + suffix, DType: dt, Shape: shape}}
}

// parts are those of a packed [3, 10] with groups of 4.
func parts(change ...checkpoint.Tensor) []checkpoint.Tensor {
	out := []checkpoint.Tensor{
		part(".weight_packed", tensor.I32, 3, 2), part(".weight_scale", tensor.BF16, 3, 3), part(".weight_shape", tensor.I64, 2),
	}
	for _, c := range change {
		out = slices.DeleteFunc(out, func(t checkpoint.Tensor) bool { return t.Name == c.Name })
		if c.DType != 0 {
			out = append(out, c)
		}
	}
	return out
}

func TestRefuses(t *testing.T) {
	for _, c := range []struct {
		config  []byte
		tensors []checkpoint.Tensor
		want    string
	}{
		{[]byte(`{`), nil, "config.json: unexpected end"},
		{[]byte(`{}`), nil, "config.json: no quantization_config"},
		{[]byte(`{"quantization_config":[1]}`), nil, "config.json: quantization_config: json"},
		{settings(`quant_method="gptq"`), nil, `quant_method "gptq" is not supported, only "compressed-tensors"; quantize the model with weight-only INT4`},
		{settings(`quantization_status="frozen"`), []checkpoint.Tensor{part(".weight", tensor.BF16, 3, 10), part(".weight_scale", tensor.BF16, 3, 3)}, "is BF16 with scales, so that nothing is compressed; save the model"},
		{settings(`kv_cache_scheme={"num_bits":8}`), nil, "kv_cache_scheme: a quantised KV cache is not supported"},
		{settings(`sparsity_config={"format":"sparse-24-bitmask"}`), nil, "sparsity_config: sparse weights are not supported"},
		{settings(`transform_config={"config_groups":{"r":{}}}`), nil, "transform_config: rotated weights are not supported"},
		{settings(`config_groups={}`), nil, "config_groups: missing or empty"},
		{settings(groups(`weights=null`)), nil, "config_groups.g: weights: missing, so that only activations"},
		{settings(groups(`input_activations={"num_bits":8}`)), nil, "config_groups.g: quantised activations are not supported; quantize the model with weight-only"},
		{settings(groups(`output_activations={"num_bits":8}`)), nil, "quantised activations"},
		{settings(`format="float-quantized"`), nil, `format "float-quantized" is not supported, only pack-quantized, int-quantized and naive-quantized; quantize`},
		{settings(groups(`format="nvfp4-pack-quantized"`)), nil, `format "nvfp4-pack-quantized" is not supported`},
		{settings(`format="mixed-precision"`), nil, "format: missing"},
		{settings(groups(`type="float"`)), nil, `weights.type "float" is not supported`},
		{settings(groups(`num_bits=3`)), nil, "weights.num_bits = 3 is not supported, only 4 and 8"},
		{settings(groups(`dynamic=true`)), nil, "weights.dynamic = true"},
		{settings(groups(`strategy="block"`)), nil, `weights.strategy "block" is not supported`},
		{settings(groups(`group_size=0`)), nil, "weights.group_size: want a positive number"},
		{settings(groups(`targets=["re:("]`)), nil, `config_groups.g: targets[0]: "re:("`},
		{settings(`ignore=["re:["]`), nil, "ignore[0]: "},
		{settings(`vision_config={"depth":2}`), nil, "vision_config: a compressed model with vision is not supported"},
		{settings(), parts(part(".weight_packed", tensor.I32, 3)), `tensor "m.weight_packed": shape [3], want a matrix`},
		{settings(), parts(part(".weight_packed", tensor.I8, 3, 2)), "codes of I8, want I32"},
		{settings(), parts(part(".weight_packed", tensor.I32, 1<<30, 1<<30)), "out of range"},
		{settings(), parts(part(".weight_packed", tensor.I32, 3, 0)), "out of range"},
		{settings(), parts(part(".weight_scale", 0)), "weight_scale is missing"},
		{settings(), parts(part(".weight_scale", tensor.F64, 3, 3)), "weight_scale of F64, want F32, F16 or BF16"},
		{settings(), parts(part(".weight_shape", 0)), "weight_shape is missing"},
		{settings(groups(`symmetric=false`)), parts(), "weight_zero_point is missing, and the scheme is asymmetric"},
		{settings(groups(`symmetric=false`)), parts(part(".weight_zero_point", tensor.F32, 3, 3)), "weight_zero_point of F32, want I8, or I32"},
		{settings(), parts(part(".weight_g_idx", tensor.F32, 10)), "weight_g_idx of F32"},
		{settings(groups(`strategy="channel"`)), parts(part(".weight_g_idx", tensor.I32, 10)), "for strategy channel"},
		{settings(`ignore=["m"]`), parts(), "is compressed, and quantization_config has no target for it"},
		{settings(groups(`targets=["re:other"]`)), parts(), "has no target for it"},
		{settings(groups(`targets=["re:(x+x+)+y"]`)), []checkpoint.Tensor{
			{Info: tensor.Info{Name: strings.Repeat("x", 60) + ".weight_packed", DType: tensor.I32, Shape: []int{3, 2}}},
		}, `"re:(x+x+)+y" takes more than 1s to match`},
		{settings(`format="int-quantized"`), parts(), "is not of format int-quantized"},
		{settings(), []checkpoint.Tensor{part(".weight", tensor.I8, 3, 10), part(".weight_scale", tensor.BF16, 3, 3)}, "is not of format pack-quantized"},
		{settings(), []checkpoint.Tensor{part(".weight_scale", tensor.BF16, 3, 3)}, `tensor "m.weight_scale": belongs to no weight_packed or weight`},
		{settings(), []checkpoint.Tensor{part(".weight_global_scale", tensor.F32, 1)}, "is of a format that is not supported"},
		{settings(), parts(part(".bitmask", tensor.U8, 3, 3)), "is of a format that is not supported"},
	} {
		m, err := compressedtensors.Read(c.config, c.tensors)
		if m != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Read(%s) = %v, want %q", c.config, err, c.want)
		}
	}
}

func TestMethod(t *testing.T) {
	for config, want := range map[string]string{
		`{}`: "", `{"quantization_config":null}`: "", string(settings()): "compressed-tensors", `{"quantization_config":{"quant_method":"awq"}}`: "awq",
		`{"compression_config":{"format":"pack-quantized"}}`: "compressed-tensors",
	} {
		if got, err := compressedtensors.Method([]byte(config)); got != want || err != nil {
			t.Errorf("Method(%s) = %q, %v, want %q", config, got, err, want)
		}
	}
}

// TestTargets: a name goes before a regular expression, that before a class,
// and ignore before all.
func TestTargets(t *testing.T) {
	config := settings(
		`ignore=["lm_head","re:.*\\.skip$"]`,
		`config_groups={"a":`+scheme(`num_bits=8`, `strategy="channel"`, `targets=["Linear"]`)+`,"b":`+scheme(`targets=["re:model\\.layers\\.1\\..*"]`)+
			`,"c":`+scheme(`targets=["re:model\\.layers\\.2.*","re:model\\.layers\\.[13].*"]`, `num_bits=8`, `strategy="channel"`)+`,"d":`+scheme(`targets=["model.layers.1.up"]`, `num_bits=8`, `strategy="tensor"`, `symmetric=false`)+`}`,
	)
	for module, want := range map[string]string{
		"model.layers.0.up":   "pack-quantized 8 bits channel symmetric",
		"model.layers.1.down": "pack-quantized 4 bits group 4 symmetric",
		"model.layers.3.up":   "pack-quantized 8 bits channel symmetric",
		"model.layers.1.up":   "pack-quantized 8 bits tensor asymmetric",
		"x.model.layers.1.up": "pack-quantized 8 bits channel symmetric", // matched from the beginning
		"model.layers.1.skip": "",
		"lm_head":             "",
		"embed_tokens":        "",
	} {
		tensors := []checkpoint.Tensor{part(".weight_packed", tensor.I32, 8, 8), part(".weight_scale", tensor.BF16, 8, 1), part(".weight_shape", tensor.I64, 2), part(".weight_zero_point", tensor.I8, 8, 1)}
		for i := range tensors {
			tensors[i].Name = module + strings.TrimPrefix(tensors[i].Name, "m")
		}
		m, err := compressedtensors.Read(config, tensors)
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "has no target for it") {
				t.Errorf("%s: %v, want no target", module, err)
			}
			continue
		}
		if err != nil || len(m.Weights()) != 1 || m.Weights()[0].Scheme() != want {
			t.Errorf("%s: %+v, %v, want %s", module, m, err, want)
		}
	}
}

// example is a weight with random contents.
type example struct {
	bits, n, k, group int
	strategy          string
	dt                tensor.DType
	zeros             tensor.DType // 0: symmetric
	format            string
	symmetric         bool // in spite of zero points

	codes  [][]int
	scales [][]float32
	points [][]int
	weight compressedtensors.Weight
	parts  map[string][]byte
}

// words packs rows of numbers into words of 32 bits.
func words(rows [][]int, bits int) []byte {
	var b []byte
	for _, r := range rows {
		for chunk := range slices.Chunk(r, 32/bits) {
			w := uint32(0)
			for i, v := range chunk {
				w |= uint32(v+1<<(bits-1)) << (i * bits)
			}
			b = binary.LittleEndian.AppendUint32(b, w)
		}
	}
	return b
}

func transpose(rows [][]int) [][]int {
	out := make([][]int, len(rows[0]))
	for j := range out {
		for i := range rows {
			out[j] = append(out[j], rows[i][j])
		}
	}
	return out
}

func (e *example) build(t *testing.T, rng *rand.Rand) {
	t.Helper()
	groupCount, zeroRows := 1, e.n
	if e.strategy == "group" {
		groupCount = (e.k + e.group - 1) / e.group
	}
	if e.strategy == "tensor" {
		zeroRows = 1
	}
	half := 1 << (e.bits - 1)
	for i := range e.n {
		e.codes = append(e.codes, make([]int, e.k))
		for j := range e.k {
			e.codes[i][j] = rng.IntN(2*half) - half
		}
	}
	for i := range zeroRows {
		e.scales, e.points = append(e.scales, make([]float32, groupCount)), append(e.points, make([]int, groupCount))
		for g := range groupCount {
			b := make([]byte, 4)
			s := []float32{rng.Float32()}
			if err := tensor.FromF32(b[:e.dt.Bytes()], s, e.dt); err != nil {
				t.Fatal(err)
			}
			if err := tensor.ToF32(s, b[:e.dt.Bytes()], e.dt); err != nil {
				t.Fatal(err)
			}
			e.scales[i][g] = s[0]
			if e.zeros != 0 {
				e.points[i][g] = rng.IntN(2*half) - half
			}
		}
	}
	e.bytes(t, zeroRows, groupCount)
}

func (e *example) bytes(t *testing.T, zeroRows, groupCount int) {
	t.Helper()
	var scales []byte
	for _, row := range e.scales {
		b := make([]byte, len(row)*e.dt.Bytes())
		if err := tensor.FromF32(b, row, e.dt); err != nil {
			t.Fatal(err)
		}
		scales = append(scales, b...)
	}
	e.parts = map[string][]byte{".weight_scale": scales}
	tensors := []checkpoint.Tensor{part(".weight_scale", e.dt, zeroRows, groupCount)}
	if e.format == "pack-quantized" {
		e.parts[".weight_packed"] = words(e.codes, e.bits)
		e.parts[".weight_shape"] = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(e.n)), uint64(e.k))
		tensors = append(tensors, part(".weight_packed", tensor.I32, e.n, (e.k+32/e.bits-1)/(32/e.bits)), part(".weight_shape", tensor.I64, 2))
	} else {
		e.parts[".weight"] = signed(e.codes)
		tensors = append(tensors, part(".weight", tensor.I8, e.n, e.k))
	}
	switch e.zeros {
	case tensor.I8:
		e.parts[".weight_zero_point"] = signed(e.points)
		tensors = append(tensors, part(".weight_zero_point", tensor.I8, zeroRows, groupCount))
	case tensor.I32:
		// Packed along the rows, so that columns lie apart.
		columns := words(transpose(e.points), e.bits)
		per := len(columns) / 4 / groupCount
		var b []byte
		for i := range per {
			for g := range groupCount {
				b = append(b, columns[4*(g*per+i):4*(g*per+i)+4]...)
			}
		}
		e.parts[".weight_zero_point"] = b
		tensors = append(tensors, part(".weight_zero_point", tensor.I32, per, groupCount))
	}
	m, err := compressedtensors.Read(settings(fmt.Sprintf("format=%q", e.format), groups(
		fmt.Sprintf("num_bits=%d", e.bits), fmt.Sprintf("strategy=%q", e.strategy), fmt.Sprintf("group_size=%d", max(e.group, 1)), fmt.Sprintf("symmetric=%v", e.zeros == 0 || e.symmetric),
	)), tensors)
	if err != nil {
		t.Fatal(err)
	}
	e.weight = m.Weights()[0]
}

func signed(rows [][]int) (b []byte) {
	for _, r := range rows {
		for _, v := range r {
			b = append(b, byte(v))
		}
	}
	return b
}

// TestCarry compares with (code − zero point) · scale, for every way to store.
func TestCarry(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		example
		want string
	}{
		{example{bits: 4, n: 5, k: 40, group: 8, strategy: "group", dt: tensor.BF16, format: "pack-quantized"}, "INT4 g8 BF16"},
		{example{bits: 4, n: 5, k: 43, group: 16, strategy: "group", dt: tensor.F16, format: "pack-quantized"}, "INT4 g16 F16"},
		{example{bits: 4, n: 5, k: 40, group: 8, strategy: "group", dt: tensor.F32, format: "pack-quantized"}, "INT4 g8 F32"},
		{example{bits: 4, n: 13, k: 40, group: 8, strategy: "group", dt: tensor.BF16, zeros: tensor.I32, format: "pack-quantized"}, "UINT4 g8 BF16+F32"},
		{example{bits: 4, n: 13, k: 40, group: 8, strategy: "group", dt: tensor.F16, zeros: tensor.I8, format: "pack-quantized"}, "UINT4 g8 F16+F32"},
		{example{bits: 4, n: 13, k: 40, group: 8, strategy: "group", dt: tensor.F32, zeros: tensor.I32, format: "pack-quantized"}, "INT8 g8 F32"},
		{example{bits: 4, n: 13, k: 40, strategy: "channel", dt: tensor.BF16, zeros: tensor.I32, format: "pack-quantized"}, "UINT4 channel BF16+F32"},
		{example{bits: 8, n: 6, k: 39, strategy: "channel", dt: tensor.BF16, format: "pack-quantized"}, "INT8 channel BF16"},
		{example{bits: 8, n: 6, k: 39, strategy: "channel", dt: tensor.BF16, zeros: tensor.I32, format: "pack-quantized"}, "INT8 channel BF16+F32"},
		{example{bits: 8, n: 6, k: 40, group: 8, strategy: "group", dt: tensor.F16, zeros: tensor.I8, format: "int-quantized"}, "INT8 g8 F16+F32"},
		{example{bits: 8, n: 6, k: 39, strategy: "channel", dt: tensor.F32, format: "naive-quantized"}, "INT8 channel F32"},
		{example{bits: 8, n: 6, k: 39, strategy: "tensor", dt: tensor.F32, format: "int-quantized"}, "INT8 channel F32"},
		{example{bits: 8, n: 6, k: 39, strategy: "tensor", dt: tensor.BF16, zeros: tensor.I8, format: "int-quantized"}, "INT8 channel BF16+F32"},
		{example{bits: 4, n: 6, k: 39, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, "INT4 channel F32"},
	} {
		e := c.example
		e.build(t, rng)
		coded, err := compressedtensors.CarryFrom(e.weight, e.parts)
		if err != nil {
			t.Errorf("%s, %v: %v", e.weight.Scheme(), e.dt, err)
			continue
		}
		if coded.String() != c.want {
			t.Errorf("%s: carried as %v, want %s", e.weight.Scheme(), coded.Coding, c.want)
		}
		e.compare(t, coded)
	}
}

// compare checks the weights by one rounding and by two.
func (e *example) compare(t *testing.T, coded *tensor.Coded) {
	t.Helper()
	row := make([]float32, e.k)
	size := coded.GroupSize
	if size == 0 {
		size = e.k
	}
	for i := range e.n {
		coded.Weights(row, i)
		codes, scales, offsets := coded.Row(i)
		for j, got := range row {
			at, g := i, 0
			if e.strategy == "tensor" {
				at = 0
			}
			if e.strategy == "group" {
				g = j / e.group
			}
			want := float32(float32(e.codes[i][j]-e.points[at][g]) * e.scales[at][g])
			once := float32(float64(scales[j/size]) * float64(codes[j]))
			if offsets != nil {
				once = float32(float64(scales[j/size])*float64(codes[j]) + float64(offsets[j/size]))
			}
			if math.Float32bits(got) != math.Float32bits(want) || math.Float32bits(once) != math.Float32bits(want) {
				t.Fatalf("%s, %v: weight [%d, %d] = %v, %v with one rounding, want %v", e.weight.Scheme(), e.dt, i, j, got, once, want)
			}
		}
	}
}

func TestCarryRefuses(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	float := func(f float32) []byte { return binary.LittleEndian.AppendUint32(nil, math.Float32bits(f)) }
	for _, c := range []struct {
		name   string
		e      example
		change func(p map[string][]byte)
		want   string
	}{
		{"F32 scales", example{bits: 8, n: 6, k: 39, strategy: "channel", dt: tensor.F32, zeros: tensor.I8, format: "int-quantized"}, func(map[string][]byte) {}, "zero points with F32 scales cannot be carried over exactly; quantize the model with"},
		{"scales", example{bits: 8, n: 2, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight_scale"] = p[".weight_scale"][4:] }, "weight_scale: 1 scales, want 2"},
		{"NaN", example{bits: 8, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight_scale"] = float(float32(math.NaN())) }, "row 0, group 0: scale NaN, want a number that is not negative"},
		{"negative", example{bits: 8, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight_scale"] = float(-1) }, "scale -1"},
		{"huge", example{bits: 8, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight_scale"] = float(3e38) }, "not finite"},
		{"codes", example{bits: 8, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight"] = p[".weight"][1:] }, "7 codes, want 8"},
		{"wide codes", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "int-quantized"}, func(p map[string][]byte) { p[".weight"][3] = 8 }, "row 0, column 3: code 8 does not fit 4 bits"},
		{"packed codes", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_packed"] = nil }, "0 bytes of codes, want 4"},
		{"shape", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_shape"][8] = 9 }, "weight_shape: [1 9], and the codes fill [1 8]"},
		{"small shape", example{bits: 4, n: 1, k: 9, strategy: "channel", dt: tensor.F32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_shape"][8] = 8 }, "weight_shape: [1 8], and the codes fill [1 16]"},
		{"rows of the shape", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_shape"][0] = 2 }, "weight_shape: [2 8]"},
		{"short shape", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.F32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_shape"] = p[".weight_shape"][:8] }, "weight_shape: 8 bytes of I64, want 2 numbers"},
		{"symmetric", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.BF16, zeros: tensor.I8, format: "pack-quantized", symmetric: true}, func(p map[string][]byte) { p[".weight_zero_point"] = []byte{3} }, "weight_zero_point: byte 0 is 3, want 0 in a symmetric scheme"},
		{"zero points", example{bits: 4, n: 3, k: 8, strategy: "channel", dt: tensor.BF16, zeros: tensor.I8, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_zero_point"] = nil }, "weight_zero_point: 0 zero points, want 3"},
		{"packed zero points", example{bits: 4, n: 3, k: 8, strategy: "channel", dt: tensor.BF16, zeros: tensor.I32, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_zero_point"] = nil }, "weight_zero_point: 0 bytes, want 1 words for 3 rows"},
		{"wide zero points", example{bits: 4, n: 1, k: 8, strategy: "channel", dt: tensor.BF16, zeros: tensor.I8, format: "pack-quantized"}, func(p map[string][]byte) { p[".weight_zero_point"] = []byte{9} }, "zero point 9 does not fit 4 bits"},
	} {
		c.e.build(t, rng)
		c.change(c.e.parts)
		if m, err := compressedtensors.CarryFrom(c.e.weight, c.e.parts); m != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Carry() = %v, want %q", c.name, err, c.want)
		}
	}
}

// TestOrdering reads weight_g_idx as releases with activation ordering wrote it.
func TestOrdering(t *testing.T) {
	config := settings()
	tensors := []checkpoint.Tensor{
		part(".weight_packed", tensor.I32, 1, 2), part(".weight_scale", tensor.BF16, 1, 3), part(".weight_shape", tensor.I64, 2), part(".weight_g_idx", tensor.I32, 10),
	}
	m, err := compressedtensors.Read(config, tensors)
	if err != nil {
		t.Fatal(err)
	}
	codes := [][]int{{0, 1, 2, 3, 4, 5, 6, 7, -8, -7}}
	base := map[string][]byte{
		".weight_packed": words(codes, 4), ".weight_scale": {0x80, 0x3f, 0, 0x40, 0x80, 0x40}, // 1, 2, 4
		".weight_shape": binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 1), 10),
	}
	for _, c := range []struct {
		index []int
		want  []float32
		err   string
	}{
		{[]int{0, 0, 0, 0, 1, 1, 1, 1, 2, 2}, []float32{0, 1, 2, 3, 8, 10, 12, 14, -32, -28}, ""},
		{[]int{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1}, []float32{0, 1, 2, 3, 8, 10, 12, 14, -32, -28}, ""},
		{[]int{1, 0, 1, 2, 0, 1, 0, 2, 1, 0}, []float32{0, 1, 4, 12, 4, 10, 6, 28, -16, -7}, ""},
		{[]int{0, 0, 0, 0, 0, 1, 1, 1, 2, 2}, nil, "weight_g_idx: group 0 has 5 columns, want 4"},
		{[]int{0, 0, 0, 0, 1, 1, 1, 1, 2, 3}, nil, "weight_g_idx: column 9 is in group 3 of 3"},
		{[]int{0, 0, 0, 0, 1, 1, 1, 1, 2, -1}, nil, "weight_g_idx: 1 of 10 columns are in no group"},
		{[]int{0, 0}, nil, "weight_g_idx: 8 bytes of I32, want 10 numbers"},
	} {
		p := map[string][]byte{".weight_g_idx": nil}
		maps.Copy(p, base)
		for _, g := range c.index {
			p[".weight_g_idx"] = binary.LittleEndian.AppendUint32(p[".weight_g_idx"], uint32(g))
		}
		coded, err := compressedtensors.CarryFrom(m.Weights()[0], p)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v: %v, want %q", c.index, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c.index, err)
			continue
		}
		got := make([]float32, 10)
		if coded.Weights(got, 0); !slices.Equal(got, c.want) {
			t.Errorf("%v: weights %v, want %v", c.index, got, c.want)
		}
	}
}

// TestClaims: sizes that a file claims and does not have cost nothing.
func TestClaims(t *testing.T) {
	m, err := compressedtensors.Read(settings(groups(`group_size=1048576`)), []checkpoint.Tensor{
		part(".weight_packed", tensor.I32, 1<<16, 1<<16), part(".weight_scale", tensor.BF16, 1, 1), part(".weight_shape", tensor.I64, 2),
	})
	if err != nil {
		t.Fatal(err)
	}
	parts := map[string][]byte{
		".weight_packed": make([]byte, 1000), ".weight_scale": make([]byte, 2),
		".weight_shape": binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, 1<<16), 1<<19),
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err = compressedtensors.CarryFrom(m.Weights()[0], parts)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 16<<10 {
		t.Errorf("Carry() = %v, %d bytes allocated, want an error for less than 16 KiB", err, got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(settings(), []byte("m.weight_packed"), []byte{3, 2, 4}, make([]byte, 24))
	f.Add(settings(groups(`symmetric=false`, `num_bits=8`)), []byte{2, 2, 0}, []byte{1, 1, 1, 0x3f}, make([]byte, 16))
	f.Add(settings(`format="int-quantized"`, groups(`targets=["re:m.*"]`)), []byte{1, 2}, []byte{3}, make([]byte, 9))
	f.Fuzz(func(t *testing.T, config, shapes, scales, data []byte) {
		dim := func(i int) int {
			if i < len(shapes) {
				return int(int8(shapes[i]))
			}
			return 1
		}
		types := tensor.DTypes()
		dt := func(i int) tensor.DType { return types[(dim(i)&255)%len(types)] }
		tensors := []checkpoint.Tensor{
			part(".weight_packed", tensor.I32, dim(0), dim(1)), part(".weight_scale", dt(2), 1), part(".weight_shape", tensor.I64, 2),
			part(".weight_zero_point", dt(3), 1), part(".weight_g_idx", tensor.I32, dim(1)),
		}
		if dim(4)&1 == 0 {
			tensors = []checkpoint.Tensor{part(".weight", tensor.I8, dim(0), dim(1)), tensors[1], tensors[3]}
		}
		m, err := compressedtensors.Read(config, tensors)
		if err != nil {
			return
		}
		for _, w := range m.Weights() {
			if !w.Compressed() {
				continue
			}
			coded, err := compressedtensors.CarryFrom(w, map[string][]byte{
				".weight_packed": data, ".weight": data, ".weight_scale": scales, ".weight_zero_point": scales, ".weight_g_idx": data, ".weight_shape": data[:min(16, len(data))],
			})
			if err == nil && coded.Check() != nil {
				t.Errorf("%s: %v", w.Scheme(), coded.Check())
			}
		}
	})
}
