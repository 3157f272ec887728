package measure

import (
	"cmp"
	"slices"
)

// Choice is one way to build something: what it takes, and what KL it adds to
// that of everything else.
type Choice struct {
	Bytes int64
	KL    float64
}

// Step is a point of a frontier: everything so far, and one thing more built
// in another way.
type Step struct {
	Item, Choice int // what changed; -1 at the beginning
	Bytes        int64
	KL           float64
}

// Frontier returns the best ways from building each item as its first choice
// says down to the fewest bytes, by the additive model: the KL of a whole is
// the sum of those of its choices. Each step is the one that costs the least
// KL for a byte. Choices that no such path takes, since another one saves as
// much for less, do not occur. No other selection of choices has both fewer
// bytes and less KL than a point; between two points there may be some.
func Frontier(items [][]Choice) []Step {
	type move struct {
		item, choice int
		bytes        int64 // saved
		kl           float64
	}
	var moves []move
	at := Step{Item: -1, Choice: -1}
	for i, choices := range items {
		hull := lowerHull(choices)
		at.Bytes += choices[hull[0]].Bytes
		at.KL += choices[hull[0]].KL
		for n, to := range hull[1:] {
			from := choices[hull[n]]
			moves = append(moves, move{i, to, from.Bytes - choices[to].Bytes, choices[to].KL - from.KL})
		}
	}
	slices.SortStableFunc(moves, func(a, b move) int {
		return cmp.Compare(a.kl*float64(b.bytes), b.kl*float64(a.bytes))
	})
	steps := []Step{at}
	for _, m := range moves {
		at.Item, at.Choice, at.Bytes, at.KL = m.item, m.choice, at.Bytes-m.bytes, at.KL+m.kl
		steps = append(steps, at)
	}
	return steps
}

// lowerHull returns the choices on the lower convex hull of bytes and KL, the
// first one first, then with ever fewer bytes, each step dearer than the one
// before.
func lowerHull(choices []Choice) []int {
	order := make([]int, 0, len(choices))
	for i, c := range choices {
		if i == 0 || c.Bytes < choices[0].Bytes {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(choices[b].Bytes, choices[a].Bytes), cmp.Compare(choices[a].KL, choices[b].KL))
	})
	slope := func(a, b int) float64 { // KL for a byte
		return (choices[b].KL - choices[a].KL) / float64(choices[a].Bytes-choices[b].Bytes)
	}
	var hull []int
	for _, c := range order {
		if n := len(hull); n > 0 && choices[c].Bytes == choices[hull[n-1]].Bytes {
			continue // and with more KL
		}
		for len(hull) > 1 && slope(hull[len(hull)-2], hull[len(hull)-1]) >= slope(hull[len(hull)-1], c) {
			hull = hull[:len(hull)-1]
		}
		hull = append(hull, c)
	}
	return hull
}

// Selection returns the choice of each item after so many steps.
func Selection(items int, steps []Step) []int {
	out := make([]int, items)
	for _, s := range steps {
		if s.Item >= 0 {
			out[s.Item] = s.Choice
		}
	}
	return out
}
