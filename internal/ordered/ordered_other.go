//go:build !amd64

package ordered

func best() Level { return Plain }

func axpy32(_, _ []float32, _ float32) int { return 0 }

func axpy64(_, _ []float64, _ float64) int { return 0 }

func kernelRows(_ int) int { panic("llima: internal error: ordered: no kernels") }

func kernelColumns(_ int) int { panic("llima: internal error: ordered: no kernels") }

func multiplyKernel(_, _ int, _ []float32, _ int, _ []float32, _ int, _ []float32, _, _, _ int) {
	panic("llima: internal error: ordered: no kernels")
}

type function struct{}

var expSub, divImm, sigmoid function

func elementwise(_ function, _, _ []float32, _ float32) int { return 0 }

func greatest(_ *[lanes]float32, _ []float32) int { return 0 }

func sum(_ *[lanes]float32, _ []float32) int { return 0 }

func turn(_, _ Matrix) (rows, cols int) { return 0, 0 }
