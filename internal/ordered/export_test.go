package ordered

// Levels lists what this CPU can run.
func Levels() []Level {
	var out []Level
	for l := Plain; l <= best(); l++ {
		out = append(out, l)
	}
	return out
}

// Use runs at a level until it is called again.
func Use(l Level) { level = l }
