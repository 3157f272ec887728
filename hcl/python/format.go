package python

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
)

// spec is a format: [[fill]align][sign][#][0][width][grouping][.precision][type],
// Python's library, "Format Specification Mini-Language".
type spec struct {
	fill      string
	align     byte
	sign      byte
	alternate bool
	width     int
	grouping  string
	precision int // -1 where there is none
	verb      byte
}

const maxWidth = 1000

func parseSpec(text string) (spec, error) {
	s := spec{fill: " ", precision: -1}
	bad := raise("ValueError", "the format %s is not known", quote(text))
	rest, filled := text, false
	if _, size := utf8.DecodeRuneInString(rest); len(rest) > size && strings.ContainsRune("<>=^", rune(rest[size])) {
		s.fill, s.align, rest, filled = rest[:size], rest[size], rest[size+1:], true
	} else if rest != "" && strings.ContainsRune("<>=^", rune(rest[0])) {
		s.align, rest = rest[0], rest[1:]
	}
	if rest != "" && strings.ContainsRune("+- ", rune(rest[0])) {
		s.sign, rest = rest[0], rest[1:]
	}
	if strings.HasPrefix(rest, "#") {
		s.alternate, rest = true, rest[1:]
	}
	if strings.HasPrefix(rest, "0") {
		if rest = rest[1:]; !filled {
			s.fill = "0"
		}
		if s.align == 0 {
			s.align = '='
		}
	}
	digits := func() (int, bool) {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(rest[:n])
		rest = rest[n:]
		return v, err == nil && v <= maxWidth
	}
	if rest != "" && rest[0] >= '1' && rest[0] <= '9' {
		n, ok := digits()
		if !ok {
			return s, bad
		}
		s.width = n
	}
	if rest != "" && (rest[0] == ',' || rest[0] == '_') {
		s.grouping, rest = rest[:1], rest[1:]
	}
	if strings.HasPrefix(rest, ".") {
		rest = rest[1:]
		n, ok := digits()
		if !ok {
			return s, bad
		}
		s.precision = n
	}
	if len(rest) > 1 || rest != "" && !strings.ContainsRune("bcdeEfFgGnosxX%", rune(rest[0])) {
		return s, bad
	}
	if rest != "" {
		s.verb = rest[0]
	}
	return s, nil
}

// formatValue writes a value in a format, as format(v, text) does.
func formatValue(v starlark.Value, text string) (string, error) {
	if text == "" {
		return str(v), nil
	}
	s, err := parseSpec(text)
	if err != nil {
		return "", err
	}
	wrong := raise("ValueError", "the format %s is not for a value of type %s", quote(text), typeName(v))
	if isString(v) {
		if s.verb != 0 && s.verb != 's' || s.align == '=' || s.sign != 0 || s.grouping != "" {
			return "", wrong
		}
		body := []rune(str(v))
		if s.precision >= 0 && s.precision < len(body) {
			body = body[:s.precision]
		}
		return s.pad("", string(body), '<'), nil
	}
	switch n := number(v).(type) {
	case starlark.Int:
		if s.verb != 0 && strings.ContainsRune("eEfFgG%", rune(s.verb)) {
			return s.float(float64(n.Float()))
		}
		if s.precision >= 0 || s.verb == 's' {
			return "", wrong
		}
		return s.integer(n.BigInt()), nil
	case starlark.Float:
		if s.verb != 0 && !strings.ContainsRune("eEfFgGn%", rune(s.verb)) {
			return "", wrong
		}
		return s.float(float64(n))
	}
	return "", raise("TypeError", "%s takes no format", typeName(v))
}

func (s spec) integer(n *big.Int) string {
	base, prefix := 10, ""
	switch s.verb {
	case 'b':
		base, prefix = 2, "0b"
	case 'o':
		base, prefix = 8, "0o"
	case 'x', 'X':
		base, prefix = 16, "0x"
	case 'c':
		return s.pad("", string(rune(n.Int64())), '<')
	}
	body := new(big.Int).Abs(n).Text(base)
	if s.verb == 'X' {
		body, prefix = strings.ToUpper(body), "0X"
	}
	if !s.alternate {
		prefix = ""
	}
	return s.pad(s.signOf(n.Sign() < 0)+prefix, s.group(body), '>')
}

func (s spec) float(f float64) (string, error) {
	verb, precision := s.verb, s.precision
	suffix := ""
	if verb == '%' {
		f, verb, suffix = f*100, 'f', "%"
	}
	if precision < 0 && verb != 0 {
		precision = 6
	}
	var body string
	abs := math.Abs(f)
	switch {
	case math.IsInf(f, 0):
		body = "inf"
	case math.IsNaN(f):
		body = "nan"
	case verb == 0 && precision < 0:
		body = floatText(abs)
	case verb == 0 || verb == 'n' || verb == 'g' || verb == 'G':
		body = general(abs, max(precision, 1), s.verb == 0)
	case verb == 'e' || verb == 'E':
		body = strconv.FormatFloat(abs, 'e', precision, 64)
	default:
		body = strconv.FormatFloat(abs, 'f', precision, 64)
	}
	if verb == 'E' || verb == 'G' || verb == 'F' {
		body = strings.ToUpper(body)
	}
	return s.pad(s.signOf(math.Signbit(f) && !math.IsNaN(f)), s.group(body)+suffix, '>'), nil
}

// general is %g with Python's thresholds; point keeps ".0" as the default
// format does.
func general(abs float64, precision int, point bool) string {
	e := strconv.FormatFloat(abs, 'e', precision-1, 64)
	exponent, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if point {
		precision-- // 1e+02 with a precision of 3
	}
	if exponent < -4 || exponent >= precision {
		mantissa, exp, _ := strings.Cut(e, "e")
		if strings.Contains(mantissa, ".") {
			mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
		}
		return mantissa + "e" + exp
	}
	if point {
		precision++
	}
	f := strconv.FormatFloat(abs, 'f', max(precision-1-exponent, 0), 64)
	if strings.Contains(f, ".") {
		f = strings.TrimRight(strings.TrimRight(f, "0"), ".")
	}
	if point && !strings.Contains(f, ".") {
		f += ".0"
	}
	return f
}

// floatText is the shortest text that reads back as the same number.
func floatText(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	case math.IsNaN(f):
		return "nan"
	}
	abs := math.Abs(f)
	if abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

func (s spec) signOf(negative bool) string {
	switch {
	case negative:
		return "-"
	case s.sign == '+' || s.sign == ' ':
		return string(s.sign)
	}
	return ""
}

// group puts the separator between the thousands.
func (s spec) group(digits string) string {
	if s.grouping == "" {
		return digits
	}
	whole, rest := digits, ""
	if i := strings.IndexAny(digits, ".e"); i >= 0 && s.verb != 'x' && s.verb != 'X' {
		whole, rest = digits[:i], digits[i:]
	}
	step := 3
	if s.verb == 'x' || s.verb == 'X' || s.verb == 'b' || s.verb == 'o' {
		step = 4
	}
	for i := len(whole) - step; i > 0; i -= step {
		whole = whole[:i] + s.grouping + whole[i:]
	}
	return whole + rest
}

// pad fills a body up to the width.
func (s spec) pad(sign, body string, usual byte) string {
	missing := s.width - utf8.RuneCountInString(sign+body)
	if missing <= 0 {
		return sign + body
	}
	align := s.align
	if align == 0 {
		align = usual
	}
	switch align {
	case '<':
		return sign + body + strings.Repeat(s.fill, missing)
	case '=':
		return sign + strings.Repeat(s.fill, missing) + body
	case '^':
		return strings.Repeat(s.fill, missing/2) + sign + body + strings.Repeat(s.fill, missing-missing/2)
	}
	return strings.Repeat(s.fill, missing) + sign + body
}

// percent computes format % values.
func percent(format string, values starlark.Value) (starlark.Value, error) {
	args, isTuple := values.(starlark.Tuple)
	if !isTuple {
		args = starlark.Tuple{values}
	}
	dict, _ := values.(*starlark.Dict)
	var b strings.Builder
	used := 0
	for i := 0; i < len(format); {
		if format[i] != '%' {
			b.WriteByte(format[i])
			i++
			continue
		}
		if strings.HasPrefix(format[i:], "%%") {
			b.WriteByte('%')
			i += 2
			continue
		}
		i++
		var v starlark.Value
		if end := strings.IndexByte(format[i:], ')'); dict != nil && strings.HasPrefix(format[i:], "(") && end > 0 {
			x, err := element(dict, starlark.String(format[i+1:i+end]))
			if err != nil {
				return nil, err
			}
			v, i = x, i+end+1
		}
		n := 0
		for i+n < len(format) && strings.IndexByte("-+ #0123456789.", format[i+n]) >= 0 {
			n++
		}
		if i+n == len(format) {
			return nil, raise("ValueError", "the format %s ends within a %%", quote(format))
		}
		flags, verb := format[i:i+n], format[i+n]
		i += n + 1
		if v == nil {
			if used == len(args) {
				return nil, raise("TypeError", "not enough values for the format %s", quote(format))
			}
			v = args[used]
			used++
		}
		s, err := percentValue(flags, verb, v)
		if err != nil {
			return nil, err
		}
		b.WriteString(s)
	}
	if dict == nil && used < len(args) {
		return nil, raise("TypeError", "more values than the format %s takes", quote(format))
	}
	return starlark.String(b.String()), nil
}

func percentValue(flags string, verb byte, v starlark.Value) (string, error) {
	switch verb {
	case 's', 'r', 'a':
		if text := str(v); verb != 's' {
			v = starlark.String(repr(v))
		} else {
			v = starlark.String(text)
		}
		verb = 's'
	case 'i', 'u':
		verb = 'd'
	}
	if verb == 'd' {
		if f, ok := v.(starlark.Float); ok {
			n, err := starlark.NumberToInt(f)
			if err != nil {
				return "", raise("ValueError", "%s is no whole number", f)
			}
			v = n
		}
		if !isNumber(v) {
			return "", raise("TypeError", "%%d takes a number, not %s", typeName(v))
		}
	}
	left := strings.HasPrefix(flags, "-")
	flags = strings.TrimPrefix(flags, "-")
	align := ""
	if left {
		align, flags = "<", strings.TrimLeft(flags, "0")
	} else if verb == 's' {
		align = ">"
	}
	return formatValue(number(v), align+flags+string(verb))
}
