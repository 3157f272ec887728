package document_test

import (
	"strings"
	"testing"

	"github.com/llima-build/llima/internal/document"
)

type config struct {
	Size   int                `json:"size"`
	Scale  *float64           `json:"scale"`
	Name   string             `json:"name"`
	Flag   bool               `json:"flag"`
	IDs    []int              `json:"ids"`
	Ranges map[string]float32 `json:"ranges"`
	Inner  *struct {
		Parts []struct {
			Layer uint8 `json:"layer"`
		} `json:"parts"`
	} `json:"inner"`
}

func TestDecode(t *testing.T) {
	var c config
	const sound = `{"size": 3, "scale": 1e-5, "ids": [1, 2], "inner": {"parts": [{"layer": 255}]}, "other": {}}`
	if err := document.Decode([]byte(sound), &c); err != nil || c.Size != 3 || *c.Scale != 1e-5 || c.Inner.Parts[0].Layer != 255 {
		t.Errorf("Decode() = %v, %+v", err, c)
	}
}

func TestDecodeRefuses(t *testing.T) {
	const whole = "want a whole number, written without point or exponent"
	for in, want := range map[string]string{
		``:                                       "offset 0: the file is empty, want a JSON document",
		" \n":                                    "offset 0: the file is empty, want a JSON document",
		`{"size":`:                               "offset 8: the JSON ends too early",
		`{"name":"a`:                             "offset 10: the JSON ends too early",
		`{"scale": NaN}`:                         "offset 10: not JSON: invalid character 'N' looking for beginning of value",
		`{"size": 1}}`:                           "offset 11: not JSON: invalid character '}' after top-level value",
		`[1]`:                                    "offset 0: the document is a list, want an object",
		`3`:                                      "offset 0: the document is the number 3, want an object",
		`{"size": "256"}`:                        "offset 9: size is a string, " + whole,
		`{"size": "a\"b\\"}`:                     "offset 9: size is a string, " + whole,
		`{"size": 3.5}`:                          "offset 9: size is the number 3.5, " + whole,
		`{"size": 1e9}`:                          "offset 9: size is the number 1e9, " + whole,
		`{"size":-99999999999999999999}`:         "offset 8: size is the number -99999999999999999999, which is out of range",
		`{"size": true }`:                        "offset 9: size is true or false, " + whole,
		`{"size": [1, 2]}`:                       "offset 9: size is a list, " + whole,
		`{"scale": {"x": 1}}`:                    "offset 10: scale is an object, want a number",
		`{"scale": 1e400}`:                       "offset 10: scale is the number 1e400, want a number",
		`{"name": 12}`:                           "offset 9: name is the number 12, want a string",
		`{"flag": 0}`:                            "offset 9: flag is the number 0, want true or false",
		`{"ids": "x"}`:                           "offset 8: ids is a string, want a list",
		`{"ids": [1,"x"]}`:                       "offset 11: ids is a string, " + whole,
		`{"ranges": {"k": "v"}}`:                 "offset 17: ranges is a string, want a number",
		`{"inner": 3}`:                           "offset 10: inner is the number 3, want an object",
		`{"inner": {"parts": [{"layer": 256}]}}`: "offset 31: inner.parts.layer is the number 256, which is out of range",
	} {
		var c config
		if err := document.Decode([]byte(in), &c); err == nil || err.Error() != want {
			t.Errorf("Decode(%s) = %v, want %s", in, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"size": "256", "ids": [1.5]}`))
	f.Add([]byte(`"\"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c config
		if err := document.Decode(b, &c); err != nil && (!strings.HasPrefix(err.Error(), "offset ") || strings.Contains(err.Error(), "Go ")) {
			t.Errorf("Decode(%q) = %v", b, err)
		}
	})
}
