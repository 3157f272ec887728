//go:build !amd64

package kern

// Sets returns the kernels that this CPU can run: there are none for it yet.
func Sets() []*Set { return nil }

// Pause tells the CPU that the caller waits in a loop.
func Pause() {}
