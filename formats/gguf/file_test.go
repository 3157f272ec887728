package gguf_test

import (
	"encoding/binary"
	"math"
)

// file builds a GGUF file, legal or not.
type file struct {
	magic          string
	version        uint32
	counts         []uint64 // of tensors and pairs where the file lies about them
	pairs          []pair
	tensors        []info
	data           []byte
	alignmentBytes int // of the data's beginning, 32 where 0
}

type pair struct {
	key   string
	typ   uint32
	value []byte
}

type info struct {
	name   string
	dims   []uint64 // innermost first, as files have them
	typ    uint32
	offset uint64
}

func u32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
func str(s string) []byte { return append(u64(uint64(len(s))), s...) }

func text(key, value string) pair      { return pair{key, 8, str(value)} }
func number(key string, v uint32) pair { return pair{key, 4, u32(v)} }
func float(key string, v float32) pair { return pair{key, 6, u32(math.Float32bits(v))} }
func truth(key string, v bool) pair    { return pair{key, 7, []byte{map[bool]byte{true: 1}[v]}} }
func array(key string, elem uint32, n uint64, elements []byte) pair {
	return pair{key, 9, append(append(u32(elem), u64(n)...), elements...)}
}

func texts(key string, values ...string) pair {
	var b []byte
	for _, s := range values {
		b = append(b, str(s)...)
	}
	return array(key, 8, uint64(len(values)), b)
}

func (f file) bytes() []byte {
	if f.magic == "" {
		f.magic, f.version = "GGUF", 3
	}
	if f.counts == nil {
		f.counts = []uint64{uint64(len(f.tensors)), uint64(len(f.pairs))}
	}
	b := append([]byte(f.magic), u32(f.version)...)
	for _, n := range f.counts {
		b = append(b, u64(n)...)
	}
	for _, p := range f.pairs {
		b = append(append(append(b, str(p.key)...), u32(p.typ)...), p.value...)
	}
	for _, t := range f.tensors {
		b = append(append(b, str(t.name)...), u32(uint32(len(t.dims)))...)
		for _, d := range t.dims {
			b = append(b, u64(d)...)
		}
		b = append(append(b, u32(t.typ)...), u64(t.offset)...)
	}
	alignment := max(f.alignmentBytes, 32)
	if f.alignmentBytes == 8 {
		alignment = 8
	}
	for len(f.data) > 0 && len(b)%alignment != 0 {
		b = append(b, 0)
	}
	return append(b, f.data...)
}
