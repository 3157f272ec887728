package lower

import (
	"fmt"
	"slices"

	"github.com/llima-build/llima/modalix/isa"
)

const (
	numQueues  = 4
	maxCounter = 255
)

// clock says, for each queue, how many of its instructions are known to be
// complete.
type clock [numQueues]int

func (c *clock) merge(o clock) {
	for i := range c {
		c[i] = max(c[i], o[i])
	}
}

// issued is an instruction as its queue sees it.
type issued struct {
	program  int // position in the program
	accesses []access
	done     clock // what is known complete once it is
}

// insertTokens sets Pop and Push of one quad's program so that of two
// conflicting accesses in different queues the earlier one in program order
// always happens first. For each instruction and each other queue it looks
// for the latest conflicting instruction there; a token is spent only when
// vector clocks do not already order the two. The last instruction, END,
// waits for all queues by itself.
func insertTokens(code []isa.Inst) error {
	var queues [numQueues][]issued
	var counters [numQueues][numQueues]int // [from][to]
	var tileK [numTiles]int64
	for i := range code {
		code[i].Pop, code[i].Push = 0, 0
	}
	for i := range code {
		in := &code[i]
		if in.Op == isa.END {
			continue
		}
		q := in.Op.Index()
		if in.Op == isa.LDW {
			tileK[in.Tile] = int64(in.KB) * kUnit
		}
		self := issued{program: i, accesses: accesses(nil, in, tileK[in.Tile])}
		var known clock
		if own := queues[q]; len(own) > 0 {
			known = own[len(own)-1].done
		}
		for _, from := range laterFirst(&queues, &self, q, known) {
			at := latestConflict(queues[from], &self, known[from])
			if at < 0 {
				continue
			}
			j := &queues[from][at]
			known.merge(j.done)
			in.Pop |= 1 << from
			code[j.program].Push |= 1 << q
		}
		known[q] = len(queues[q]) + 1
		self.done = known
		queues[q] = append(queues[q], self)
	}
	for i := range code { // in program order, as the loader checks
		q := code[i].Op.Index()
		for other := range numQueues {
			if code[i].Pop>>other&1 == 1 {
				counters[other][q]--
			}
		}
		for other := range numQueues {
			if code[i].Push>>other&1 == 1 {
				if counters[q][other]++; counters[q][other] > maxCounter {
					return fmt.Errorf("instruction %d: more than %d tokens from queue %d to %d", i, maxCounter, q, other)
				}
			}
		}
	}
	return nil
}

// laterFirst orders the other queues by the program position of their latest
// conflict with self, latest first: what that one knows often covers the rest.
func laterFirst(queues *[numQueues][]issued, self *issued, q int, known clock) []int {
	var order []int
	var position [numQueues]int
	for from := range numQueues {
		if from == q {
			continue
		}
		at := latestConflict(queues[from], self, known[from])
		if at < 0 {
			continue
		}
		position[from] = queues[from][at].program
		i := len(order)
		for i > 0 && position[order[i-1]] < position[from] {
			i--
		}
		order = append(order[:i], append([]int{from}, order[i:]...)...)
	}
	return order
}

// latestConflict returns the index of the latest instruction of a queue that
// conflicts with self, or -1 when none at or behind index known does.
func latestConflict(queue []issued, self *issued, known int) int {
	for i := len(queue) - 1; i >= known; i-- {
		for _, a := range queue[i].accesses {
			if slices.ContainsFunc(self.accesses, a.conflicts) {
				return i
			}
		}
	}
	return -1
}
