package cli

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// physicalCores counts the cores of the machine, threads of one core once, as
// far as the system tells and this process may use them.
func physicalCores() int {
	files, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*/topology/thread_siblings_list")
	if err != nil || len(files) == 0 {
		return runtime.NumCPU()
	}
	cores := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return runtime.NumCPU()
		}
		cores[strings.TrimSpace(string(b))] = true
	}
	return max(1, min(len(cores), runtime.NumCPU()))
}
