package arch

// For tests of the functions under the tables.
var (
	Ln     = ln
	Exp    = exp
	SinCos = sinCos
)
