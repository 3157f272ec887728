package compressedtensors

import (
	"github.com/llima-build/llima/formats/checkpoint"
	"github.com/llima-build/llima/formats/tensor"
)

// Read is New without files.
func Read(configJSON []byte, tensors []checkpoint.Tensor) (*Model, error) {
	return newModel(configJSON, tensors)
}

// CarryFrom is Carry with bytes by suffix.
func CarryFrom(w Weight, parts map[string][]byte) (*tensor.Coded, error) {
	codes := parts[packedSuffix]
	if codes == nil {
		codes = parts[weightSuffix]
	}
	return w.carry(stored{codes, parts[scaleSuffix], parts[zeroSuffix], parts[indexSuffix], parts[shapeSuffix]})
}
