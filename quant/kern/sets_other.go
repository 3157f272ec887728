//go:build !amd64

package kern

// Sets returns the sets that this CPU can run.
func Sets() []*Set { return []*Set{Plain} }
