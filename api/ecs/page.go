package ecs

import (
	"encoding/base64"
	"encoding/json"
	"hash/fnv"
	"slices"
	"strings"
)

// maxPage is how many items a page has where the request does not say, and at most.
const maxPage = 100

// pageRequest is which page is asked for.
type pageRequest struct {
	Max   *int32
	Token *string
	Limit int // of Max, and its default; maxPage when zero
	// Query is everything else that was asked. A token is good for the query that it was given for.
	Query string
	// Descending: the items come in descending order of their keys.
	Descending bool
}

// cursor is what a nextToken holds. It is not a secret: it names the last item that the caller has seen,
// so that pages are right however the list changes between them.
type cursor struct {
	After string `json:"a"`
	Query uint64 `json:"q"`
}

// page cuts one page out of items, which are in the order of their keys.
func page[T any](items []T, key func(T) string, r pageRequest) ([]T, *string, error) {
	limit := r.Limit
	if limit == 0 {
		limit = maxPage
	}
	n := limit
	if r.Max != nil {
		n = int(*r.Max)
		if n < 1 || n > limit {
			return nil, nil, invalid("maxResults must be between 1 and %d.", limit)
		}
	}
	h := fnv.New64a()
	h.Write([]byte(r.Query))
	query := h.Sum64()

	start := 0
	if token := deref(r.Token); token != "" {
		c, ok := decodeCursor(token)
		if !ok || c.Query != query {
			return nil, nil, invalid("Invalid token")
		}
		at, found := slices.BinarySearchFunc(items, c.After, func(item T, after string) int {
			if r.Descending {
				return strings.Compare(after, key(item))
			}
			return strings.Compare(key(item), after)
		})
		start = at
		if found {
			start++
		}
	}
	items = items[start:]
	if len(items) <= n {
		return items, nil, nil
	}
	items = items[:n]
	return items, ptr(cursor{After: key(items[n-1]), Query: query}.encode()), nil
}

func (c cursor) encode() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // a string and a number
	}
	return base64.URLEncoding.EncodeToString(b)
}

func decodeCursor(token string) (c cursor, ok bool) {
	b, err := base64.URLEncoding.DecodeString(token)
	if err != nil {
		return c, false
	}
	return c, json.Unmarshal(b, &c) == nil
}

// self is the key of items that are their own.
func self(s string) string { return s }
