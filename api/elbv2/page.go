package elbv2

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
)

// pageSize is how many items a page has by default and at most.
const pageSize = 400

// cursor is what a Marker holds: the key of the last item that the caller has seen, so that pages are right however the
// list changes between them. It is not a secret.
type cursor struct {
	After string `json:"a"`
	Query uint64 `json:"q"`
}

// fingerprint is of everything that was asked beside the marker: a marker is good for the query that it was given for.
func fingerprint(parts ...any) uint64 {
	h := fnv.New64a()
	if err := json.NewEncoder(h).Encode(parts); err != nil {
		panic(err) // members of a request
	}
	return h.Sum64()
}

// pager cuts one page out of items that are offered in the order of their keys.
type pager[T any] struct {
	limit int
	query uint64
	after string
	items []T
	last  string // the key of the last item
	more  bool
}

func newPager[T any](limit *int32, marker *string, query uint64) (*pager[T], error) {
	p := &pager[T]{limit: int(or(limit, pageSize)), query: query}
	if deref(marker) != "" {
		b, err := base64.URLEncoding.DecodeString(*marker)
		var c cursor
		if err != nil || json.Unmarshal(b, &c) != nil || c.Query != query || c.After == "" {
			return nil, invalid("The specified marker is not valid")
		}
		p.after = c.After
	}
	return p, nil
}

// offer takes the next item, if it belongs to the page. It returns false when no item after it does.
func (p *pager[T]) offer(key string, item func() T) bool {
	if key <= p.after {
		return true
	}
	if len(p.items) == p.limit {
		p.more = true
		return false
	}
	p.items = append(p.items, item())
	p.last = key
	return true
}

// marker is where the page after this one begins; nil when there is none.
func (p *pager[T]) marker() *string {
	if !p.more {
		return nil
	}
	b, err := json.Marshal(cursor{After: p.last, Query: p.query})
	if err != nil {
		panic(err) // a string and a number
	}
	return ptr(base64.URLEncoding.EncodeToString(b))
}
