package dataset

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/llima-build/llima/formats/parquet"
)

// parquet reads the rows of a Parquet file.
func (r *reader) parquet() error {
	f, err := parquet.Open(r.file.Reader, r.file.SizeBytes)
	if err != nil {
		return err
	}
	columns, err := pickFields("columns", f.Columns())
	if err != nil {
		return err
	}
	return f.Read(columns, func(group, row int64, values []parquet.Value) error {
		text, err := r.encoder.row(columns, values)
		if err != nil {
			return fmt.Errorf("row group %d, row %d: %w", group, row, err)
		}
		return r.whole(text)
	})
}

// row returns the text of a row; a null is none.
func (e *Encoder) row(columns []string, values []parquet.Value) (string, error) {
	lists := make([]json.RawMessage, 0, len(values))
	var text strings.Builder
	for i, v := range values {
		if v.Null {
			return "", nil
		}
		if v.List == nil && v.Text != nil {
			if good, _ := wellFormed(v.Text); good < len(v.Text) {
				return "", fmt.Errorf("column %q: byte %d of the text: %w", columns[i], good, notUTF8(v.Text[good]))
			}
			text.Write(v.Text)
			continue
		}
		list, err := objects(v)
		if err != nil {
			return "", fmt.Errorf("column %q: %w", columns[i], err)
		}
		lists = append(lists, list)
	}
	switch len(lists) {
	case 0:
		return text.String(), nil
	case len(values):
		s, err := e.chat(lists...)
		switch lost := values[0].Lost; {
		case err != nil && len(lost) > 0:
			err = fmt.Errorf("column %q: %w; %q are not strings", columns[0], err, lost)
		case err != nil:
			err = fmt.Errorf("column %q: %w", columns[0], err)
		}
		return s, err
	}
	return "", fmt.Errorf("columns %q: one is a list and one is text", columns)
}

// objects writes a list as JSON.
func objects(v parquet.Value) (json.RawMessage, error) {
	out := make([]map[string]string, len(v.List))
	for i, o := range v.List {
		out[i] = map[string]string{}
		for _, field := range o {
			if good, _ := wellFormed(field.Text); good < len(field.Text) {
				return nil, fmt.Errorf("message %d, %q: byte %d: %w", i, field.Name, good, notUTF8(field.Text[good]))
			}
			out[i][field.Name] = string(field.Text)
		}
	}
	return json.Marshal(out)
}
