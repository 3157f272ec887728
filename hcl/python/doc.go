// Package python runs small configuration scripts written in Python: it
// reads Python's syntax, turns it into the syntax tree of Starlark, and lets
// Starlark run it under a limit of steps. What Starlark does differently is
// done by builtins that follow Python; what cannot be done is refused at its
// place, with the way to write it instead. Source: The Python Language
// Reference, 3.13. It knows nothing of models and rules.
package python
