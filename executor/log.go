package executor

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// targetLog is the file that a target's stage writes into, from whichever of
// its goroutines. The file is made when there is something to write.
type targetLog struct {
	path string
	mu   sync.Mutex
	file *os.File
}

// newLog removes the log of the target's last run.
func newLog(path string) (*targetLog, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return &targetLog{path: path}, nil
}

// Write implements [io.Writer].
func (l *targetLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		f, err := os.Create(l.path)
		if err != nil {
			return 0, err
		}
		l.file = f
	}
	return l.file.Write(p)
}

func (l *targetLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// fail ends the log with why the target failed, and returns the last lines of
// what stood before that.
func (l *targetLog) fail(why error) (tail string, err error) {
	if tail, err = l.tail(); err != nil {
		return "", err
	}
	_, err = fmt.Fprintf(l, "failed: %v\n", why)
	return tail, errors.Join(err, l.close())
}

// tailLines and tailBytes are how much of a failed target's log is shown.
const (
	tailLines = 40
	tailBytes = 64 << 10
)

func (l *targetLog) tail() (string, error) {
	f, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	b := make([]byte, min(st.Size(), tailBytes))
	n, err := f.ReadAt(b, st.Size()-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	lines := strings.Split(strings.TrimRight(string(b[:n]), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n"), nil
}
