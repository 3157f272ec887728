package lang

import (
	"slices"
	"strings"
)

// Suggest returns the candidate that a person who wrote given most likely
// meant, or "" where none is close.
func Suggest(given string, candidates []string) string {
	given = strings.ToLower(given)
	best, bestCost := "", max(1, len(given)/3)+1
	for _, c := range candidates {
		cost := editDistance(given, strings.ToLower(c), bestCost)
		if cost < bestCost && cost < max(len(given), len(c)) { // something is left of it
			best, bestCost = c, cost
		}
	}
	if best != "" || len(given) < 3 {
		return best
	}
	// A piece of a long name: INT8 for A_BF16_W_INT8.
	if c := only(candidates, func(c string) bool {
		return strings.Contains(c, given) || len(c) >= 3 && strings.Contains(given, c)
	}); c != "" {
		return c
	}
	// An abbreviation: idx for index.
	return only(candidates, func(c string) bool { return given[0] == c[0] && abbreviates(given, c) })
}

// only returns the one candidate whose lower-case form satisfies ok.
func only(candidates []string, ok func(lower string) bool) string {
	found := ""
	for _, c := range candidates {
		if c == "" || !ok(strings.ToLower(c)) {
			continue
		}
		if found != "" {
			return ""
		}
		found = c
	}
	return found
}

// abbreviates reports whether the letters of short occur in long in order.
func abbreviates(short, long string) bool {
	for i := range len(short) {
		at := strings.IndexByte(long, short[i])
		if at < 0 {
			return false
		}
		long = long[at+1:]
	}
	return true
}

// didYouMean returns ` Did you mean "x"?`, or "" where nothing is close.
func didYouMean(given string, candidates []string) string {
	if s := Suggest(given, candidates); s != "" {
		return ` Did you mean "` + s + `"?`
	}
	return ""
}

// editDistance counts the insertions, deletions, substitutions and swaps of
// neighbours between a and b, up to limit.
func editDistance(a, b string, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := range len(a) {
		cur[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			cur[j+1] = min(prev[j]+cost, prev[j+1]+1, cur[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				cur[j+1] = min(cur[j+1], before[j-1]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return min(prev[len(b)], limit)
}

// listed returns `"a", "b" and "c"`, quoted, in order.
func listed(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = `"` + v + `"`
	}
	return Join(q, "and")
}

// Join returns "a, b and c" with the given conjunction.
func Join(values []string, conjunction string) string {
	switch len(values) {
	case 0:
		return "nothing"
	case 1:
		return values[0]
	}
	last := len(values) - 1
	return strings.Join(slices.Clone(values[:last]), ", ") + " " + conjunction + " " + values[last]
}
