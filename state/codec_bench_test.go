package state

import (
	"encoding/json"
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
