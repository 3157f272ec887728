//go:build !amd64

package ordered

func best() Level { return Plain }

func axpy32(_, _ []float32, _ float32) int { return 0 }

func axpy64(_, _ []float64, _ float64) int { return 0 }

func kernelRows(_ int) int { panic("llima: internal error: ordered: no kernels") }

func multiplyKernel(_ int, _ []float32, _ int, _ []float32, _ int, _ []float32, _, _, _ int) {
	panic("llima: internal error: ordered: no kernels")
}
