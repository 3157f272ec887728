package modalix_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/llima-build/llima/internal/addr"
	"github.com/llima-build/llima/modalix"
	"github.com/llima-build/llima/modalix/emu"
	"github.com/llima-build/llima/modalix/isa"
)

// TestElsewhere compiles decode beside prefill: both have the same weights, so
// decode's object holds none and runs once they are bound. Another digest
// changes nothing.
func TestElsewhere(t *testing.T) {
	m := openModel(t)
	compile := func(v variant, elsewhere []byte) ([]byte, *emu.Program) {
		t.Helper()
		var b bytes.Buffer
		opt := modalix.Options{Name: v.name, Elsewhere: elsewhere}
		if err := modalix.CompilePart(m.graph(t, v, precisions[3].options), m.data, opt, &b); err != nil {
			t.Fatalf("%s: CompilePart = %v", v.name, err)
		}
		p, err := emu.Load(b.Bytes())
		if err != nil {
			t.Fatalf("%s: Load = %v", v.name, err)
		}
		return b.Bytes(), p
	}
	prefill := map[addr.PartID]*emu.Program{}
	for _, v := range variants(m.cfg, 128) {
		if v.window > 0 {
			continue
		}
		alone, p := compile(v, nil)
		if v.id.Phase == addr.Prefill {
			prefill[v.id] = p
			continue
		}
		id := v.id
		id.Phase = addr.Prefill
		sibling, ok := prefill[id]
		if !ok {
			t.Fatalf("%s: no program of prefill", v.name)
		}
		sum, _ := sibling.Digest(isa.Weights)
		b, shared := compile(v, sum[:])
		if want := len(alone) - len(p.Bytes(isa.Weights)); len(b) > want+4096 {
			t.Errorf("%s: %d bytes with weights elsewhere, want about %d", v.name, len(b), want)
		}
		if _, ok := shared.External(isa.Weights); !ok {
			t.Fatalf("%s: the weights are not external", v.name)
		}
		if err := shared.Verify(); err == nil {
			t.Errorf("%s: Verify without weights = nil, want an error", v.name)
		}
		if err := shared.Bind(isa.Weights, sibling.Bytes(isa.Weights)); err != nil {
			t.Fatalf("%s: Bind = %v", v.name, err)
		}
		if err := shared.Verify(); err != nil {
			t.Errorf("%s: Verify = %v", v.name, err)
		}
		other := sha256.Sum256([]byte("other weights"))
		if again, _ := compile(v, other[:]); !bytes.Equal(again, alone) {
			t.Errorf("%s: a digest of other weights changes the object", v.name)
		}
	}
}
