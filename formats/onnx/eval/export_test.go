package eval

// For tests of the functions under the kernels.
var (
	Tanh     = tanh
	Gelu     = gelu
	GeluTanh = geluTanh
)

// Operators lists the operators that there are kernels for.
func Operators() []string {
	var all []string
	for name := range kernels {
		all = append(all, name)
	}
	return all
}
