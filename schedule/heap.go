package schedule

// heap is a binary heap of small integers, the least on top, that knows where
// each of them stands, so that one whose order changed can be moved.
type heap struct {
	items []int32
	at    []int32 // by integer: where it stands in items; absent when in none
	less  func(a, b int32) bool
}

const absent = -1

// init orders items that were put there in any order.
func (h *heap) init() {
	for i, item := range h.items {
		h.at[item] = int32(i)
	}
	for i := len(h.items)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
}

// fix adds the item, or moves it to where it now belongs.
func (h *heap) fix(item int32) {
	if h.at[item] == absent {
		h.at[item] = int32(len(h.items))
		h.items = append(h.items, item)
	}
	i := int(h.at[item])
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap) remove(item int32) {
	i, last := int(h.at[item]), len(h.items)-1
	h.swap(i, last)
	h.items = h.items[:last]
	h.at[item] = absent
	if i < last && !h.down(i) {
		h.up(i)
	}
}

func (h *heap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.less(h.items[i], h.items[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

// down says whether it moved anything.
func (h *heap) down(i int) bool {
	start := i
	for {
		child := 2*i + 1
		if child >= len(h.items) {
			break
		}
		if right := child + 1; right < len(h.items) && h.less(h.items[right], h.items[child]) {
			child = right
		}
		if !h.less(h.items[child], h.items[i]) {
			break
		}
		h.swap(i, child)
		i = child
	}
	return i > start
}

func (h *heap) swap(i, j int) {
	a, b := h.items[i], h.items[j]
	h.items[i], h.items[j] = b, a
	h.at[a], h.at[b] = int32(j), int32(i)
}
