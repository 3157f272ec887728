package tokenizer_test

import (
	"strings"
	"testing"

	"github.com/llima-build/llima/formats/tokenizer"
)

// document is a small tokenizer.json with some members replaced.
func document(members ...string) string {
	doc := map[string]string{
		"added_tokens":   `[{"id":5,"content":"<s>","special":true}]`,
		"normalizer":     `null`,
		"pre_tokenizer":  `null`,
		"post_processor": `null`,
		"decoder":        `null`,
		"model":          `{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"é":3,"<unk>":4},"merges":["a b"]}`,
	}
	for i := 0; i < len(members); i += 2 {
		doc[members[i]] = members[i+1]
	}
	var out []string
	for _, k := range []string{"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"} {
		out = append(out, `"`+k+`":`+doc[k])
	}
	return "{" + strings.Join(out, ",") + "}"
}

func TestLoadSmall(t *testing.T) {
	tok, err := tokenizer.Load([]byte(document()))
	if err != nil {
		t.Fatal(err)
	}
	if got := tok.Decode(tok.Encode("ab<s>é", false), false); got != "ab <s> é" {
		t.Errorf("a file without decoder gives %q, want tokens with spaces between", got)
	}
	if got := tok.Encode("zab", false); len(got) != 1 || got[0] != 2 {
		t.Errorf("Encode = %v, want [2]: what has neither token nor unk is left out", got)
	}
}

func TestLoadErrors(t *testing.T) {
	nested := strings.Repeat(`{"type":"Sequence","normalizers":[`, 40) + strings.Repeat(`]}`, 40)
	for _, c := range []struct{ text, want string }{
		{``, "tokenizer: offset 0: "},
		{`{"model":`, "tokenizer: offset 9: "},
		{`{}`, "tokenizer: model: missing"},
		{`{"model":{"vocab":{"a":"b"}}}`, "model.vocab"},
		{document("model", `{"type":"Unigram"}`), `model.type: "Unigram" is not supported`},
		{document("model", `{"vocab":{"a":-1}}`), `"a": id -1 is outside`},
		{document("model", `{"vocab":{"a":2000000000}}`), `"a": id 2000000000 is outside`},
		{document("model", `{"vocab":{"a":1,"b":1}}`), `"a" and "b" both have id 1`},
		{document("model", `{"vocab":{"a":1},"merges":["a b"]}`), `merges[0]: "b" is not in the vocabulary`},
		{document("model", `{"vocab":{"a":1},"merges":["ab"]}`), `merges[0]: byte 5 of them: "ab" has no space`},
		{document("model", `{"vocab":{"a":1},"merges":[["a"]]}`), `merges[0]: byte 6 of them: 1 strings, want 2`},
		{document("model", `{"vocab":{"a":1},"merges":[7]}`), `merges[0]: `},
		{document("model", `{"dropout":0.1}`), `model.dropout: 0.1`},
		{document("model", `{"end_of_word_suffix":"</w>"}`), `model.end_of_word_suffix`},
		{document("model", `{"continuing_subword_prefix":"##"}`), `model.continuing_subword_prefix`},
		{document("added_tokens", `[{"id":-4,"content":"x"}]`), `added_tokens[0]: "x": id -4`},
		{document("normalizer", `{"type":"Precompiled"}`), `normalizer: Precompiled: is not supported`},
		{document("normalizer", nested), `nested more than 16 deep`},
		{document("normalizer", `{"type":"Replace","pattern":{"String":""},"content":"x"}`), `pattern: is empty`},
		{document("normalizer", `{"type":"Replace","pattern":{"Regex":"("},"content":"x"}`), `pattern: `},
		{document("normalizer", `{"type":"Sequence","normalizers":[`+strings.Repeat(`{"type":"Replace","pattern":{"String":"a"},"content":"aaaaaaaa"},`, 9)+`{"type":"NFC"}]}`), `more than 1024 times`},
		{document("pre_tokenizer", `{"type":"BertPreTokenizer"}`), `BertPreTokenizer: is not supported`},
		{document("pre_tokenizer", `{"type":"Split","pattern":{"String":" "},"behavior":"Sideways"}`), `behavior "Sideways"`},
		{document("pre_tokenizer", `{"type":"Split","behavior":"Isolated"}`), `pattern: missing`},
		{document("pre_tokenizer", `{"type":"Metaspace","replacement":"ab"}`), `"ab" is not one character`},
		{document("pre_tokenizer", `{"type":"Metaspace","replacement":"_","prepend_scheme":"odd"}`), `prepend_scheme: "odd"`},
		{document("pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}`), `Digits after ByteLevel`},
		{document("post_processor", `{"type":"BertProcessing"}`), `post_processor: type "BertProcessing"`},
		{document("post_processor", `{"type":"TemplateProcessing","single":[]}`), `lacks the sequence A`},
		{document("post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}]}`), `special token "<s>" is not defined`},
		{document("post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}}],"special_tokens":{"<s>":{"ids":[99]}}}`), `id 99 is outside the vocabulary of 6`},
		{document("post_processor", `{"type":"TemplateProcessing","single":[{}]}`), `neither SpecialToken nor Sequence`},
		{document("post_processor", `{"type":"TemplateProcessing","single":[{"Sequence":{"id":"B"}}]}`), `want the sequence A, once`},
		{document("decoder", `{"type":"WordPiece"}`), `decoder: WordPiece: is not supported`},
		{document("decoder", `{"type":"Replace","pattern":{"Regex":"a"}}`), `pattern: want a string`},
		{document("decoder", `{"type":"Strip","content":""}`), `"" is not one character`},
	} {
		_, err := tokenizer.Load([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "tokenizer: ") {
			t.Errorf("Load(%.80s) = %v, want an error with %q", c.text, err, c.want)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(document()))
	f.Add([]byte(document("normalizer", `{"type":"Sequence","normalizers":[{"type":"NFKC"},{"type":"Lowercase"},{"type":"Prepend","prepend":"a"},{"type":"Replace","pattern":{"Regex":"b+"},"content":"a"}]}`)))
	f.Add([]byte(document("pre_tokenizer", `{"type":"Sequence","pretokenizers":[{"type":"Digits"},{"type":"Split","pattern":{"Regex":"\\p{L}+"},"behavior":"MergedWithNext"},{"type":"ByteLevel"}]}`, "decoder", `{"type":"ByteLevel"}`)))
	f.Add([]byte(document("decoder", `{"type":"Sequence","decoders":[{"type":"Replace","pattern":{"String":"a"},"content":" "},{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":1}]}`)))
	f.Add([]byte(document("post_processor", `{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>"}},{"Sequence":{"id":"A"}}],"special_tokens":{"<s>":{"ids":[5]}}}`)))
	f.Add([]byte(document("pre_tokenizer", `{"type":"Metaspace","replacement":"b"}`, "decoder", `{"type":"Metaspace","replacement":"b"}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		tok, err := tokenizer.Load(b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "tokenizer: ") {
				t.Errorf("Load: %v, want the package's name in front", err)
			}
			return
		}
		ids := tok.Encode("ab é<s>\n1²", true)
		for _, id := range ids {
			if id < 0 || id >= tok.VocabSize() {
				t.Errorf("id %d is outside the vocabulary of %d", id, tok.VocabSize())
			}
		}
		s, text := tok.Stream(false), ""
		for _, id := range ids {
			text += s.Add(id)
		}
		if text += s.Flush(); text != tok.Decode(ids, false) {
			t.Errorf("stream = %q, want %q", text, tok.Decode(ids, false))
		}
	})
}

func FuzzEncode(f *testing.F) {
	tok := load(f, "bard-3m")
	for _, s := range []string{"", "ROMEO:\n", "I'll  'LL\r\n\r\n x", "<|im_start|>é<|im_end", "\xff\U00013cd7 1234²", "   \t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ids := tok.Encode(s, false)
		valid := strings.ToValidUTF8(s, "\uFFFD")
		if got := tok.Decode(ids, false); got != valid {
			t.Errorf("Decode(Encode(%q)) = %q", s, got)
		}
	})
}
