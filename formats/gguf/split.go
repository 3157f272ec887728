package gguf

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
)

// splitName is how the files of a split model are called.
var splitName = regexp.MustCompile(`^(.+)-([0-9]{5})-of-([0-9]{5})\.gguf$`)

const maxSplits = 99999

// open maps the model's file or files.
func (m *Model) open() error {
	first, err := m.mapFile(m.path)
	if err != nil {
		return err
	}
	m.metadata = first.metadata
	count, err := first.splitCount()
	if err != nil {
		return m.located(m.path, err)
	}
	if count <= 1 {
		return m.sortTensors()
	}
	dir, base := filepath.Split(m.path)
	name := splitName.FindStringSubmatch(base)
	if name == nil {
		return m.located(m.path, first.metadata.problem("split.count", "one of %d files, which are found by their names; call it NAME-00001-of-%05d.gguf", count, count))
	}
	part := func(i int) string { return dir + fmt.Sprintf("%s-%05d-of-%s.gguf", name[1], i+1, name[3]) }
	if n, err := strconv.Atoi(name[3]); err != nil || n != count {
		return m.located(m.path, first.metadata.problem("split.count", "%d, and the name says %s", count, name[3]))
	}
	if err := first.checkPart(0, count); err != nil {
		if name[2] != "00001" {
			err = first.metadata.problem("split.no", "this is not the first file of the model; name %s", part(0))
		}
		return m.located(m.path, err)
	}
	for i := 1; i < count; i++ {
		h, err := m.mapFile(part(i))
		if err != nil {
			return fmt.Errorf("%w (part %d of %d of %s)", err, i+1, count, m.path)
		}
		if err := h.checkPart(i, count); err != nil {
			return m.located(part(i), err)
		}
	}
	if err := m.checkCount(first); err != nil {
		return m.located(m.path, err)
	}
	return m.sortTensors()
}

// located puts the file's name into an error.
func (m *Model) located(path string, err error) error {
	if bad, ok := err.(*Error); ok { //nolint:errorlint // made just above, and never wrapped
		bad.Path = path
	}
	return err
}

// splitCount returns how many files the model has, 0 where nothing says so.
func (h *header) splitCount() (int, error) {
	n, ok, err := h.metadata.Int("split.count")
	switch {
	case err != nil:
		return 0, err
	case ok && (n < 0 || n > maxSplits):
		return 0, h.metadata.problem("split.count", "%d, want at most %d", n, maxSplits)
	}
	return n, nil
}

// checkPart checks that the file is part i of count.
func (h *header) checkPart(i, count int) error {
	n, err := h.splitCount()
	if err != nil {
		return err
	}
	if n != count {
		return h.metadata.problem("split.count", "%d, want %d as in the first file", n, count)
	}
	no, ok, err := h.metadata.Int("split.no")
	switch {
	case err != nil:
		return err
	case !ok:
		return h.metadata.problem("split.no", "missing, want %d", i)
	case no != i:
		return h.metadata.problem("split.no", "%d, want %d", no, i)
	}
	return nil
}

// checkCount checks that all files together hold all tensors.
func (m *Model) checkCount(first *header) error {
	n, ok, err := first.metadata.Int("split.tensors.count")
	switch {
	case err != nil:
		return err
	case ok && n != len(m.tensors):
		return first.metadata.problem("split.tensors.count", "%d, and the files hold %d; bring all of them from one place again", n, len(m.tensors))
	}
	return nil
}
