package schedule

import (
	"encoding/binary"
	"math"
	"math/bits"
	"math/rand/v2"
)

// MaxStrategies is how long a chain may be, as in ECS. Place follows the first
// MaxStrategies of a longer one.
const MaxStrategies = 5

// rule is one step of comparing two nodes. Each gives a node a number, and the
// smaller is better; a rule looks only at what those before it left equal.
type rule uint8

const (
	fewestInBucket rule = iota // tasks of the group on nodes with the same attribute; see index.buckets
	fewestOfGroup
	leastCPU
	leastMemory
	mostCPU
	mostMemory
	earliestDraw
	smallestHash
)

// ties are the rules after any chain.
var ties = []rule{fewestOfGroup, mostMemory, mostCPU, smallestHash}

// rules are the chain of the ask and the ties, and the attribute of each
// fewestInBucket among them.
func (a *Ask) rules() (rules []rule, attributes []string) {
	chain := a.Strategies[:min(len(a.Strategies), MaxStrategies)]
	if len(chain) == 0 {
		chain = []Strategy{{Type: Spread, Field: "attribute:ecs.availability-zone"}}
	}
	for _, s := range chain {
		switch {
		case s.Validate() != nil:
		case s.Type == Random:
			rules = append(rules, earliestDraw)
		case s.Type == Spread && s.spreadsInstances():
			rules = append(rules, fewestOfGroup)
		case s.Type == Spread:
			rules = append(rules, fewestInBucket)
			attributes = append(attributes, attributeName(s.Field))
		case s.resource() == "cpu":
			rules = append(rules, leastCPU)
		case s.resource() == "memory":
			rules = append(rules, leastMemory)
		}
	}
	return append(rules, ties...), attributes
}

// ascending maps integers to unsigned ones in the same order.
func ascending(v int) uint64 { return uint64(v) ^ 1<<63 }

// hash is the same in every process, unlike hash/maphash.
func hash(s string) uint64 {
	h := uint64(len(s))
	for ; len(s) >= 8; s = s[8:] {
		h = mix(h, binary.LittleEndian.Uint64([]byte(s[:8])))
	}
	var tail [8]byte
	copy(tail[:], s)
	return mix(h, binary.LittleEndian.Uint64(tail[:]))
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xe7037ed1a0b428db)
	return hi ^ lo
}

// clock draws the times at which nodes come up for the strategy random. Each
// node has a Poisson process of its own, and the node that comes up first is
// taken. Since waiting times have no memory, every draw is uniform among the
// nodes, however often each was taken, and yet a node's time depends on the
// node alone: that is what lets random stand anywhere in a chain and be kept
// in a heap.
type clock struct {
	seed   uint64
	source splitMix
	rand   *rand.Rand
}

func newClock(seed uint64) *clock {
	c := &clock{seed: seed}
	c.rand = rand.New(&c.source)
	return c
}

// wait is the time between a node's last coming up and the next, when the node
// was taken n times before.
func (c *clock) wait(node uint64, n int32) float64 {
	c.source = splitMix(mix(mix(c.seed, node), uint64(n)))
	return c.rand.ExpFloat64()
}

// drawKey orders times, which are not negative, as unsigned integers.
func drawKey(time float64) uint64 { return math.Float64bits(time) }

// splitMix is a small source of random numbers that any number may seed.
type splitMix uint64

func (s *splitMix) Uint64() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
