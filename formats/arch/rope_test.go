package arch_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/llima-build/llima/formats/arch"
)

// ulps returns how many float32 steps lie between a and b.
func ulps(a, b float32) int64 {
	order := func(f float32) int64 {
		i := int64(int32(math.Float32bits(f)))
		if i < 0 {
			return math.MinInt32 - i
		}
		return i
	}
	d := order(a) - order(b)
	return max(d, -d)
}

// TestInverseFrequencies compares with what transformers 5.23 computes for
// head_dim 16 and theta 10000.
func TestInverseFrequencies(t *testing.T) {
	c := mustParse(t, `"head_dim": 16`)
	want := []float64{
		1.0, 0.3162277638912201, 0.10000000149011612, 0.03162277862429619,
		0.009999999776482582, 0.003162277862429619, 0.0010000000474974513, 0.0003162277862429619,
	}
	got := c.Ropes[0].Inv
	for i := range want {
		if got[i] != float32(want[i]) {
			t.Errorf("InverseFrequencies()[%d] = %v, want %v", i, got[i], want[i])
		}
	}
}

func TestRopeTables(t *testing.T) {
	c := mustParse(t, `"head_dim": 64`, `"rope_theta": 500000`)
	const context = 4096
	tables, err := c.RopeTables(context)
	if err != nil || len(tables) != 1 || tables[0].Name != "rope" {
		t.Fatalf("RopeTables = %d tables, %v, want rope", len(tables), err)
	}
	cos, sin, half := tables[0].Cos, tables[0].Sin, tables[0].Half
	if half != 32 || len(cos) != context*half || len(sin) != context*half {
		t.Fatalf("RopeTables = %d, %d values of %d, want %d of 32", len(cos), len(sin), half, context*32)
	}
	inv := c.Ropes[0].Inv
	worst := int64(0)
	for p := range context {
		for i, f := range inv {
			s, k := math.Sincos(float64(float32(p) * f))
			worst = max(worst, ulps(cos[p*half+i], float32(k)), ulps(sin[p*half+i], float32(s)))
		}
	}
	if worst > 1 {
		t.Errorf("RopeTables is %d ulp from math.Sincos, want at most 1", worst)
	}
	h := sha256.New()
	if err := binary.Write(h, binary.LittleEndian, cos); err != nil {
		t.Fatal(err)
	}
	if err := binary.Write(h, binary.LittleEndian, sin); err != nil {
		t.Fatal(err)
	}
	const want = "f9b4978d4913d317"
	if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != want {
		t.Errorf("RopeTables digest = %s, want %s: the tables must be the same bytes on every CPU", got, want)
	}
}

func TestFunctions(t *testing.T) {
	for x := 0.001; x < 1e9; x *= 1.0137 {
		if got, want := arch.Ln(x), math.Log(x); math.Abs(got-want) > 1e-15*max(1, math.Abs(want)) {
			t.Errorf("ln(%g) = %v, want %v", x, got, want)
		}
	}
	for x := -30.0; x < 30; x += 0.0137 {
		if got, want := arch.Exp(x), math.Exp(x); math.Abs(got-want) > 2e-15*want {
			t.Errorf("exp(%g) = %v, want %v", x, got, want)
		}
	}
	for x := 0.0; x < 1<<19; x += 1.713 + x/1000 {
		gotS, gotC := arch.SinCos(x)
		wantS, wantC := math.Sincos(x)
		if math.Abs(gotS-wantS) > 1e-15 || math.Abs(gotC-wantC) > 1e-15 {
			t.Errorf("sinCos(%g) = %v, %v, want %v, %v", x, gotS, gotC, wantS, wantC)
		}
	}
}

func BenchmarkRopeTables(b *testing.B) {
	c, err := arch.Parse(tiny(`"head_dim": 64`))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.RopeTables(1024); err != nil {
			b.Fatal(err)
		}
	}
}
