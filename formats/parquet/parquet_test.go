package parquet_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/parquet"
)

// rows returns a column as JSON has it: a string, a list of objects or null.
func rows(b []byte, column string) ([]any, error) {
	f, err := parquet.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return nil, err
	}
	out := []any{}
	err = f.Read([]string{column}, func(_, _ int64, v []parquet.Value) error {
		switch v := v[0]; {
		case v.Null:
			out = append(out, nil)
		case column == "text":
			out = append(out, string(v.Text))
		default:
			list := []any{}
			for _, o := range v.List {
				m := map[string]any{}
				for _, field := range o {
					m[field.Name] = string(field.Text)
				}
				list = append(list, m)
			}
			out = append(out, list)
		}
		return nil
	})
	return out, err
}

func columnOf(name string) string {
	if strings.Contains(name, "messages") {
		return "messages"
	}
	return "text"
}

// plain removes what a list of strings in objects cannot say: nulls, and
// values that are no strings.
func plain(v any) any {
	list, ok := v.([]any)
	if !ok {
		return v
	}
	out := []any{}
	for _, item := range list {
		m := map[string]any{}
		fields, _ := item.(map[string]any)
		for name, v := range fields {
			if s, ok := v.(string); ok {
				m[name] = s
			}
		}
		out = append(out, m)
	}
	return out
}

// TestRead compares with what pyarrow reads.
func TestRead(t *testing.T) {
	b, err := os.ReadFile("testdata/expect.json")
	if err != nil {
		t.Fatal(err)
	}
	var expect struct {
		Files map[string]int `json:"files"`
		Rows  [][]any        `json:"rows"`
	}
	if err := json.Unmarshal(b, &expect); err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		"brotli":  `row group 0, column "text": it is packed by brotli, which is not supported; write the file with one of none, snappy, gzip, zstd, lz4_raw`,
		"numbers": `column "text": it holds 64-bit integers, want strings or lists of objects`,
		"strings": `column "text": it holds lists of byte arrays, want strings or lists of objects`,
	}
	if len(expect.Files) != 22 {
		t.Fatalf("%d files", len(expect.Files))
	}
	for name, i := range expect.Files {
		if name == "latin1" { // not text, for package dataset
			continue
		}
		b, err := os.ReadFile(filepath.Join("testdata", name+".parquet"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := rows(b, columnOf(name))
		if want := refused[name]; want != "" {
			if err == nil || err.Error() != want {
				t.Errorf("%s: %v, want %s", name, err, want)
			}
			continue
		}
		want := expect.Rows[i]
		for i := range want {
			want[i] = plain(want[i])
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d rows, %v, want %d\n got %.300v\nwant %.300v", name, len(got), err, len(want), got, want)
		}
	}
}

// TestDamaged changes every byte of small files, and cuts them everywhere:
// what is read is right, or there is an error.
func TestDamaged(t *testing.T) {
	names := []string{"zstd", "messages_wide"}
	if os.Getenv("LLIMA_LONG") != "" {
		names = append(names, "snappy", "gzip", "lz4", "prefixes", "messages_v2", "pages", "nulls", "empty")
	}
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join("testdata", name+".parquet"))
		if err != nil {
			t.Fatal(err)
		}
		failed := 0
		for i := range b {
			for _, x := range []byte{b[i] ^ 1, b[i] ^ 0x80, 0, 0xff} {
				damaged := slices.Clone(b)
				damaged[i] = x
				if _, err := rows(damaged, columnOf(name)); err != nil {
					failed++
				}
			}
			if _, err := rows(b[:i], columnOf(name)); err == nil {
				t.Errorf("%s: no error with %d of %d bytes", name, i, len(b))
			}
		}
		// nulls has little in the column that is read: what is changed in the
		// other one nobody can see.
		if failed < len(b)/2 && name != "nulls" {
			t.Errorf("%s: only %d of %d changes are found", name, failed, 4*len(b))
		}
	}
}

// TestChecksum changes bytes of a page that says its CRC.
func TestChecksum(t *testing.T) {
	b, err := os.ReadFile("testdata/zstd.parquet")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(b, []byte("\x28\xb5\x2f\xfd")) // where zstd's frame of the last page begins
	b[at+20] ^= 4
	if _, err := rows(b, "text"); err == nil || !strings.Contains(err.Error(), "CRC") {
		t.Errorf("%v, want an error about the CRC", err)
	}
}

// TestStop passes on the caller's error.
func TestStop(t *testing.T) {
	b, err := os.ReadFile("testdata/snappy.parquet")
	if err != nil {
		t.Fatal(err)
	}
	f, err := parquet.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := f.Columns(), []string{"id", "text"}; !slices.Equal(got, want) {
		t.Errorf("Columns() = %q, want %q", got, want)
	}
	stop := errors.New("stop")
	if err := f.Read([]string{"text"}, func(int64, int64, []parquet.Value) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Read = %v", err)
	}
	if err := f.Read([]string{"body"}, nil); err == nil {
		t.Error("Read of a column that is not there: no error")
	}
}

func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.parquet")
	if err != nil || len(paths) == 0 {
		f.Fatal(paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, strings.Contains(path, "messages"))
	}
	f.Fuzz(func(t *testing.T, b []byte, messages bool) {
		column := "text"
		if messages {
			column = "messages"
		}
		f, err := parquet.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		n, stop := 0, errors.New("enough")
		err = f.Read([]string{column}, func(int64, int64, []parquet.Value) error {
			if n++; n > 10_000 {
				return stop
			}
			return nil
		})
		if err == nil && n > 10_000 {
			t.Error("an error of the caller is lost")
		}
	})
}
