package eval

// For tests of the functions under the kernels.
var (
	Sigmoid  = sigmoid
	Tanh     = tanh
	Gelu     = gelu
	GeluTanh = geluTanh
	Fold     = fold
)

// Operators lists the operators that there are kernels for.
func Operators() []string {
	var all []string
	for name := range kernels {
		all = append(all, name)
	}
	return all
}
