package store

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// folderHolder says which process has a folder locked: the kernel lists locks
// by device and inode.
func folderHolder(path string) string {
	const unknown = "another process, with another store"
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	inode := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	for line := range strings.Lines(string(locks)) {
		// "7: FLOCK  ADVISORY  WRITE 1234 fe:00:131 0 EOF"
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != inode {
			continue
		}
		command, err := os.ReadFile("/proc/" + f[4] + "/cmdline")
		if err != nil {
			return "process " + f[4]
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
		host, err := os.Hostname()
		if err != nil {
			host = "this host"
		}
		return fmt.Sprintf("process %s on %s: %s", f[4], host, text[:min(len(text), 400)])
	}
	return unknown
}
