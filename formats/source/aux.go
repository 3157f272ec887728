package source

import "slices"

// auxFiles are the small files of a folder that a run time needs.
var auxFiles = []string{
	"config.json", "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json",
	"special_tokens_map.json", "chat_template.jinja", "chat_template.json",
}

// ggufFiles are those that a GGUF file's metadata give.
var ggufFiles = []string{"config.json", "tokenizer.json", "tokenizer_config.json"}

// AuxNames lists the small files that a source may have beside its weights.
func (m *Model) AuxNames() []string {
	if m.file != nil {
		return slices.Clone(ggufFiles)
	}
	return slices.Clone(auxFiles)
}

// Aux returns a small file, made of the metadata where the source is GGUF; ok
// is false when there is none.
func (m *Model) Aux(name string) (data []byte, ok bool, err error) {
	if m.file == nil {
		return m.checkpoint.Aux(name)
	}
	switch name {
	case "config.json":
		return m.config, true, nil
	case "tokenizer.json":
		v, err := m.file.Vocabulary()
		if err != nil {
			return nil, false, err
		}
		data, err = v.TokenizerJSON()
		return data, err == nil, err
	case "tokenizer_config.json":
		data, err = m.file.TokenizerConfig()
		return data, err == nil, err
	}
	return nil, false, nil
}
