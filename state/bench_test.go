package state

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

func BenchmarkDecode(b *testing.B) {
	value, err := encode(1, item{ID: "arn:aws:ecs:us-east-1:000000000000:task/demo/0123", Colour: "red", Tags: []string{strings.Repeat("What is known is written down. ", 28)}, N: 5})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("record", func(b *testing.B) {
		for b.Loop() {
			if _, err := items.schema.decode(value); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		for b.Loop() {
			var i item
			if err := json.Unmarshal(value, &i); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// filled is a log with many records of about a kilobyte.
func filled(b *testing.B, records int) *Memory {
	b.Helper()
	log := &Memory{}
	text := strings.Repeat("What is known is written down. ", 28)
	for first := 0; first < records; first += 1000 {
		p := Proposal{Expect: map[string]Revision{}}
		for n := first; n < first+1000; n++ {
			i := item{ID: fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%032x", n), Colour: fmt.Sprint(n % 1000), Tags: []string{text}, N: n}
			value, err := encode(1, i)
			if err != nil {
				b.Fatal(err)
			}
			p.Writes = append(p.Writes, Write{Key: items.schema.path(i.ID), Value: value})
		}
		if _, err := log.Append(b.Context(), p); err != nil {
			b.Fatal(err)
		}
	}
	return log
}

func BenchmarkReplay100k(b *testing.B) {
	log := filled(b, 100_000)
	for b.Loop() {
		ctx, cancel := context.WithCancel(b.Context())
		if _, err := Open(ctx, log); err != nil {
			b.Fatal(err)
		}
		cancel()
	}
}

func BenchmarkIn100k(b *testing.B) {
	s := openSync(b, filled(b, 100_000))
	key := fmt.Sprintf("arn:aws:ecs:us-east-1:000000000000:task/demo/%032x", 77_777)
	b.Run("Get", func(b *testing.B) {
		for b.Loop() {
			s.View(func(r *Reader) {
				if _, ok := items.Get(r, key); !ok {
					b.Fatal("it is gone")
				}
			})
		}
	})
	b.Run("By of 100", func(b *testing.B) {
		for b.Loop() {
			s.View(func(r *Reader) {
				n := 0
				for range items.By(r, "colour", "777") {
					n++
				}
				if n != 100 {
					b.Fatal(n)
				}
			})
		}
	})
	b.Run("Update", func(b *testing.B) {
		for b.Loop() {
			if err := s.Update(b.Context(), func(tx *Tx) error {
				i, _ := items.Get(tx, key)
				i.N++
				items.Put(tx, i)
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
