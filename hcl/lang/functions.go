package lang

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/ext/tryfunc"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
)

// Functions returns every function of the language. None of them depends on
// the clock, the environment, the network or on files outside of files' root.
func Functions(files *Files) map[string]function.Function {
	f := map[string]function.Function{
		"bytes":      bytesFunc,
		"can":        tryfunc.CanFunc,
		"file":       files.fileFunc(),
		"fileexists": files.existsFunc(),
		"fileset":    files.setFunc(),
		"try":        tryfunc.TryFunc,
	}
	maps.Copy(f, pureFunctions)
	for name, check := range bounds {
		f[name] = bounded(f[name], check)
	}
	return f
}

// FunctionNames returns the names of all functions, sorted.
func FunctionNames() []string {
	return slices.Sorted(maps.Keys(Functions(&Files{})))
}

// pureFunctions is the standard library under its customary names.
var pureFunctions = map[string]function.Function{
	"abs": stdlib.AbsoluteFunc, "ceil": stdlib.CeilFunc, "chomp": stdlib.ChompFunc,
	"chunklist": stdlib.ChunklistFunc, "coalesce": stdlib.CoalesceFunc, "coalescelist": stdlib.CoalesceListFunc,
	"compact": stdlib.CompactFunc, "concat": stdlib.ConcatFunc, "contains": stdlib.ContainsFunc,
	"csvdecode": stdlib.CSVDecodeFunc, "distinct": stdlib.DistinctFunc, "element": stdlib.ElementFunc,
	"flatten": stdlib.FlattenFunc, "format": stdlib.FormatFunc, "formatlist": stdlib.FormatListFunc, "indent": stdlib.IndentFunc,
	"setproduct": stdlib.SetProductFunc, "floor": stdlib.FloorFunc, "formatdate": stdlib.FormatDateFunc,
	"index": stdlib.IndexFunc, "int": stdlib.IntFunc, "join": stdlib.JoinFunc, "jsondecode": stdlib.JSONDecodeFunc,
	"jsonencode": stdlib.JSONEncodeFunc, "keys": stdlib.KeysFunc, "length": stdlib.LengthFunc, "log": stdlib.LogFunc,
	"lookup": stdlib.LookupFunc, "lower": stdlib.LowerFunc, "max": stdlib.MaxFunc, "merge": stdlib.MergeFunc,
	"min": stdlib.MinFunc, "parseint": stdlib.ParseIntFunc, "pow": stdlib.PowFunc, "range": stdlib.RangeFunc,
	"regex": stdlib.RegexFunc, "regexall": stdlib.RegexAllFunc, "regexreplace": stdlib.RegexReplaceFunc,
	"replace": stdlib.ReplaceFunc, "reverse": stdlib.ReverseListFunc, "setintersection": stdlib.SetIntersectionFunc,
	"setsubtract": stdlib.SetSubtractFunc, "setsymmetricdifference": stdlib.SetSymmetricDifferenceFunc,
	"setunion": stdlib.SetUnionFunc, "signum": stdlib.SignumFunc, "slice": stdlib.SliceFunc, "sort": stdlib.SortFunc,
	"split": stdlib.SplitFunc, "strlen": stdlib.StrlenFunc, "strrev": stdlib.ReverseFunc, "substr": stdlib.SubstrFunc,
	"timeadd": stdlib.TimeAddFunc, "title": stdlib.TitleFunc, "trim": stdlib.TrimFunc,
	"trimprefix": stdlib.TrimPrefixFunc, "trimspace": stdlib.TrimSpaceFunc, "trimsuffix": stdlib.TrimSuffixFunc,
	"upper": stdlib.UpperFunc, "values": stdlib.ValuesFunc, "zipmap": stdlib.ZipmapFunc,
	"tobool": stdlib.MakeToFunc(cty.Bool), "tonumber": stdlib.MakeToFunc(cty.Number), "tostring": stdlib.MakeToFunc(cty.String),
	"tolist": stdlib.MakeToFunc(cty.List(cty.DynamicPseudoType)), "tomap": stdlib.MakeToFunc(cty.Map(cty.DynamicPseudoType)),
	"toset": stdlib.MakeToFunc(cty.Set(cty.DynamicPseudoType)),
}

// byteUnits are the units that function bytes knows.
var byteUnits = map[string]int64{
	"": 1, "B": 1,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

var byteSize = regexp.MustCompile(`^([0-9]{1,19}(?:\.[0-9]{1,200})?) ?([A-Za-z]*)$`)

// bytesFunc turns "16GiB" into the number of bytes.
var bytesFunc = function.New(&function.Spec{
	Params: []function.Parameter{{Name: "size", Type: cty.String}},
	Type:   function.StaticReturnType(cty.Number),
	Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
		n, err := ParseBytes(args[0].AsString())
		if err != nil {
			return cty.UnknownVal(cty.Number), function.NewArgError(0, err)
		}
		return cty.NumberIntVal(n), nil
	},
})

// maxBytes bounds sizes: an exbibyte.
const maxBytes = 1 << 60

// ParseBytes reads a size such as "16GiB" or "1.5 GB", in bytes.
func ParseBytes(s string) (int64, error) {
	m := byteSize.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return 0, fmt.Errorf("%q is not a size; write a number and a unit, \"16GiB\" for example", s)
	}
	unit, ok := byteUnits[m[2]]
	if !ok {
		known := slices.Sorted(maps.Keys(byteUnits))[1:]
		if meant := Suggest(m[2], known); meant != "" {
			return 0, fmt.Errorf("%q has no unit of size; did you mean %q", s, m[1]+meant)
		}
		return 0, fmt.Errorf("%q has no unit of size, which are %s", s, Join(known, "and"))
	}
	n, _, err := big.ParseFloat(m[1], 10, 128, big.ToNearestEven)
	if err != nil {
		return 0, fmt.Errorf("%q is not a size: %w", s, err)
	}
	bytes, _ := n.Mul(n, new(big.Float).SetInt64(unit)).Int64()
	if bytes < 0 || bytes > maxBytes {
		return 0, fmt.Errorf("%q is more than %d bytes", s, int64(maxBytes))
	}
	return bytes, nil
}
