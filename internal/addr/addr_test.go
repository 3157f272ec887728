package addr_test

import (
	"testing"

	"github.com/llima-build/llima/internal/addr"
)

func TestTargetRoundTrip(t *testing.T) {
	for _, s := range []string{"m:devkit", "tuned-long:quantize:decode.POST.3", "m:compile:VISION.0", "m:mpk:layer_3", "m:package"} {
		got, err := addr.Parse(s)
		if err != nil || got.String() != s {
			t.Errorf("Parse(%q) = %v, %v, want the same address", s, got, err)
		}
	}
	for _, s := range []string{"", "m", ":onnx", "m:paint", "m:onnx:a:b"} {
		if got, err := addr.Parse(s); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", s, got)
		}
	}
}

func TestPartIDRoundTrip(t *testing.T) {
	for _, p := range addr.Parts {
		for _, ph := range addr.Phases {
			if p == addr.Vision && ph == addr.Decode {
				continue
			}
			id := addr.PartID{Phase: ph, Part: p, Index: 0}
			if got, err := addr.ParsePartID(id.String()); err != nil || got != id {
				t.Errorf("ParsePartID(%q) = %v, %v, want %v", id, got, err, id)
			}
		}
	}
	for _, s := range []string{"", "PRE.0", "prefill.VISION.0", "decode.PRE.-1", "decode.PRE.01", "decode.PRE.x", "later.PRE.1", "decode.PRE.1.2"} {
		if got, err := addr.ParsePartID(s); err == nil {
			t.Errorf("ParsePartID(%q) = %v, want an error", s, got)
		}
	}
}

func TestFileName(t *testing.T) {
	for _, c := range []struct {
		id   addr.PartID
		want string
	}{
		{addr.PartID{Phase: addr.Prefill, Part: addr.Pre, Index: 0}, "group_pre_0"},
		{addr.PartID{Phase: addr.Decode, Part: addr.Post, Index: 27}, "single_post_27"},
		{addr.PartID{Part: addr.Vision}, "vision"},
	} {
		if got := c.id.FileName(); got != c.want {
			t.Errorf("%v.FileName() = %q, want %q", c.id, got, c.want)
		}
	}
}

func TestMatch(t *testing.T) {
	target := addr.Target{Model: "tuned-long", Stage: addr.Quantize, Unit: "decode.POST.3"}
	for _, c := range []struct {
		pattern string
		want    bool
	}{
		{"tuned-long", true},
		{"tuned-*", true},
		{"*:quantize", true},
		{"*:quantize:*.POST.*", true},
		{"*:onnx", false},
		{"tuned", false},
		{"tuned-long:quantize:decode.POST.?", true},
	} {
		if got, err := addr.Match(c.pattern, target); err != nil || got != c.want {
			t.Errorf("Match(%q) = %v, %v, want %v", c.pattern, got, err, c.want)
		}
	}
	for _, p := range []string{"[", "a:b:c:d"} {
		if _, err := addr.Match(p, target); err == nil {
			t.Errorf("Match(%q) succeeded, want an error", p)
		}
	}
}
