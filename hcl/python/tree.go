package python

import "github.com/llima-build/llima/internal/diag"

// exprKind is the form of an expression.
type exprKind uint8

const (
	exName      exprKind = iota // text
	exNumber                    // text
	exString                    // text is its value
	exFormatted                 // args: exString and exField
	exField                     // args: value, and the format where there is one; text is the conversion
	exTuple                     // args
	exList                      // args
	exSet                       // args
	exDict                      // args: key, value, …; a nil key is **value
	exComp                      // text "[", "{", "{:" or "("; args: what is collected; clauses
	exUnary                     // text, args: operand
	exBinary                    // text, args: left, right
	exBool                      // text "and" or "or", args: left, right
	exCompare                   // names: operators, args: one operand more
	exCond                      // args: condition, then, else
	exLambda                    // params, args: body
	exCall                      // args: function, arguments; names: of the arguments, "", "*" and "**" too
	exAttr                      // args: object; text
	exIndex                     // args: object, index
	exSlice                     // args: low, high, step; each may be nil
	exStar                      // args: what is unpacked
	exEllipsis
	exRefused // text names the construct
)

// expr is an expression; which fields it has is said at its kind.
type expr struct {
	kind       exprKind
	start, end diag.Pos
	text       string
	args       []*expr
	names      []string
	clauses    []clause
	params     []param
}

// clause is "for target in value", or "if value" where target is nil.
type clause struct {
	start  diag.Pos
	target *expr
	value  *expr
}

// param is a parameter; star is "", "*" or "**", and a "*" without a name
// stands before those that need their names.
type param struct {
	star  string
	name  string
	start diag.Pos
	value *expr // the default, nil where there is none
}

// stmtKind is the form of a statement.
type stmtKind uint8

const (
	stExpr     stmtKind = iota // value
	stAssign                   // targets, value
	stAugment                  // targets[0], text is the operator, value
	stAnnotate                 // targets[0] has a type, and a value unless it is nil
	stReturn                   // value, nil where there is none
	stPass
	stBreak
	stContinue
	stIf      // value, body, orelse
	stWhile   // value, body, orelse
	stFor     // targets[0], value, body, orelse
	stDef     // text is the name; params, body, decorators
	stMatch   // value, body: of stCase
	stCase    // targets[0] is the pattern; value is the guard, nil where there is none; body
	stClass   // text is the name; targets are the bases, body, decorators
	stImport  // text is the module, "" where names are imported from none; names
	stRaise   // value, nil where there is none
	stAssert  // value, and targets[0] is the message
	stDelete  // targets
	stRefused // text names the construct
)

// stmt is a statement; which fields it has is said at its kind.
type stmt struct {
	kind       stmtKind
	start, end diag.Pos // end is that of its first line
	text       string
	targets    []*expr
	value      *expr
	body       []*stmt
	orelse     []*stmt
	params     []param
	decorators []*expr
	imports    []imported
}

// imported is one name of an import: from MODULE import NAME as AS; name is ""
// where the module itself is imported.
type imported struct {
	module, name, as string
}
