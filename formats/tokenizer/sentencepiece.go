package tokenizer

import (
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Fields of SentencePiece's ModelProto and the messages in it
// (google/sentencepiece, src/sentencepiece_model.proto).
const (
	fieldPieces     = 1
	fieldTrainer    = 2
	fieldNormalizer = 3

	pieceText  = 1
	pieceScore = 2
	pieceType  = 3

	trainerModel      = 3
	trainerSpaceAfter = 24 // treat_whitespace_as_suffix
	trainerUnknown    = 40
	trainerBOS        = 41
	trainerEOS        = 42

	normalizerCharsmap = 2
	normalizerPrefix   = 3
	normalizerCollapse = 4
	normalizerEscape   = 5
)

// modelBPE is the only trainer_spec.model_type that is read.
const modelBPE = 2

var modelTypes = map[uint64]string{1: "Unigram", 2: "BPE", 3: "word", 4: "character"}

// ParseSentencePiece reads a tokenizer.model of SentencePiece's BPE. Texts get
// the token that begins them, as Hugging Face's Llama has it, where the model
// has one.
func ParseSentencePiece(model []byte) (*Vocabulary, error) {
	v := &Vocabulary{BOS: 1, EOS: 2, SpacePrefix: true, CollapseSpaces: true}
	kind := uint64(1)
	err := eachField(model, 0, func(f field) error {
		switch f.number {
		case fieldPieces:
			return v.addPiece(f)
		case fieldTrainer:
			return v.trainer(f, &kind)
		case fieldNormalizer:
			return v.normalizer(f)
		}
		return nil
	})
	switch {
	case err != nil:
	case kind != modelBPE:
		err = fmt.Errorf("trainer_spec.model_type: %d (%s) is not supported, only BPE; use the checkpoint's tokenizer.json", kind, modelTypes[kind])
	case len(v.Tokens) == 0:
		err = errors.New("pieces: none")
	}
	if err != nil {
		return nil, fmt.Errorf("tokenizer: tokenizer.model: %w", err)
	}
	for _, id := range []*int{&v.BOS, &v.EOS, &v.Unknown} {
		if *id < 0 || *id >= len(v.Tokens) {
			*id = -1
		}
	}
	v.AddBOS = v.BOS >= 0 && v.typeOf(v.BOS) == Control
	return v, nil
}

// field is one field of a message.
type field struct {
	number int
	kind   protowire.Type
	offset int    // of the field, in bytes from the start of the file
	value  uint64 // of numbers
	bytes  []byte // of strings and messages
	inner  int    // offset of bytes
}

// eachField calls visit with the fields of a message that begins at offset.
func eachField(message []byte, offset int, visit func(field) error) error {
	for at := 0; at < len(message); {
		f := field{offset: offset + at}
		number, kind, n := protowire.ConsumeTag(message[at:])
		if n < 0 {
			return fmt.Errorf("offset %d: %w", f.offset, protowire.ParseError(n))
		}
		f.number, f.kind = int(number), kind
		at += n
		switch f.kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message[at:])
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message[at:])
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message[at:])
			f.value = uint64(v)
		case protowire.Fixed64Type, protowire.StartGroupType, protowire.EndGroupType:
			n = protowire.ConsumeFieldValue(number, f.kind, message[at:])
		}
		if n < 0 {
			return fmt.Errorf("offset %d: field %d: %w", f.offset, f.number, protowire.ParseError(n))
		}
		at += n
		f.inner = offset + at - len(f.bytes)
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

// want reports a field of another type.
func (f field) want(kind protowire.Type, name string) error {
	if f.kind != kind {
		return fmt.Errorf("offset %d: %s: wire type %d, want %d", f.offset, name, f.kind, kind)
	}
	return nil
}

func (v *Vocabulary) addPiece(f field) error {
	if err := f.want(protowire.BytesType, "pieces"); err != nil {
		return err
	}
	if len(v.Tokens) >= maxTokens {
		return fmt.Errorf("offset %d: more than %d pieces", f.offset, maxTokens)
	}
	text, score, kind := "", float32(0), Normal
	err := eachField(f.bytes, f.inner, func(p field) error {
		switch p.number {
		case pieceText:
			text = string(p.bytes)
			return p.want(protowire.BytesType, "piece")
		case pieceScore:
			score = math.Float32frombits(uint32(p.value))
			return p.want(protowire.Fixed32Type, "score")
		case pieceType:
			if p.value < uint64(Normal) || p.value > uint64(Byte) {
				return fmt.Errorf("offset %d: piece %q: type %d is unknown", p.offset, text, p.value)
			}
			kind = TokenType(p.value)
			return p.want(protowire.VarintType, "type")
		}
		return nil
	})
	v.Tokens, v.Scores, v.Types = append(v.Tokens, text), append(v.Scores, score), append(v.Types, kind)
	return err
}

func (v *Vocabulary) trainer(f field, kind *uint64) error {
	if err := f.want(protowire.BytesType, "trainer_spec"); err != nil {
		return err
	}
	return eachField(f.bytes, f.inner, func(p field) error {
		switch p.number {
		case trainerModel:
			*kind = p.value
		case trainerSpaceAfter:
			if p.value != 0 {
				return fmt.Errorf("offset %d: trainer_spec.treat_whitespace_as_suffix is not supported", p.offset)
			}
		case trainerUnknown:
			v.Unknown = int(int32(p.value))
		case trainerBOS:
			v.BOS = int(int32(p.value))
		case trainerEOS:
			v.EOS = int(int32(p.value))
		}
		return nil
	})
}

func (v *Vocabulary) normalizer(f field) error {
	if err := f.want(protowire.BytesType, "normalizer_spec"); err != nil {
		return err
	}
	return eachField(f.bytes, f.inner, func(p field) error {
		switch p.number {
		case normalizerCharsmap:
			if len(p.bytes) > 0 {
				return fmt.Errorf("offset %d: normalizer_spec.precompiled_charsmap is not supported; use the checkpoint's tokenizer.json", p.offset)
			}
		case normalizerPrefix:
			v.SpacePrefix = p.value != 0
		case normalizerCollapse:
			v.CollapseSpaces = p.value != 0
		case normalizerEscape:
			if p.value == 0 {
				return fmt.Errorf("offset %d: normalizer_spec.escape_whitespaces = false is not supported", p.offset)
			}
		}
		return nil
	})
}
