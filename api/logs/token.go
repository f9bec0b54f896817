package logs

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"

	"havn/logstore"
)

// eventID writes a position as CloudWatch Logs writes the id of an event: a decimal number of 56 digits, with the time
// in its highest bits.
//
//	time in milliseconds << 144 | number
func eventID(p logstore.Position) string {
	n := new(big.Int).Lsh(big.NewInt(p.Time), timeShift)
	n.Or(n, new(big.Int).SetUint64(p.Number))
	return fmt.Sprintf("%056d", n)
}

const timeShift = 144

// parseEventID reads what eventID wrote.
func parseEventID(text string) (p logstore.Position, ok bool) {
	const maxDigits = 63 // of the largest time
	if len(text) < 56 || len(text) > maxDigits || text[0] == '-' || text[0] == '+' {
		return p, false
	}
	n, ok := new(big.Int).SetString(text, 10)
	if !ok {
		return p, false
	}
	at := new(big.Int).Rsh(n, timeShift)
	number := n.Sub(n, new(big.Int).Lsh(at, timeShift))
	if !at.IsInt64() || !number.IsUint64() {
		return p, false
	}
	return logstore.Position{Time: at.Int64(), Number: number.Uint64()}, true
}

// The tokens of GetLogEvents are a direction and a position: f/ for what comes after it, b/ for what is before it.
func forwardToken(p logstore.Position) *string  { return ptr("f/" + eventID(p)) }
func backwardToken(p logstore.Position) *string { return ptr("b/" + eventID(p)) }

func parseToken(text string) (p logstore.Position, forward, ok bool) {
	if len(text) < 2 || text[1] != '/' || text[0] != 'f' && text[0] != 'b' {
		return p, false, false
	}
	p, ok = parseEventID(text[2:])
	return p, text[0] == 'f', ok
}

// searchToken is the nextToken of FilterLogEvents: where the search goes on, in the query that it was given for.
func searchToken(p logstore.Position, query uint64) *string {
	b := binary.BigEndian.AppendUint64(nil, uint64(p.Time))
	b = binary.BigEndian.AppendUint64(b, p.Number)
	return ptr(base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(b, query)))
}

func parseSearchToken(text string, query uint64) (p logstore.Position, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 24 || binary.BigEndian.Uint64(b[16:]) != query || b[0] > 127 {
		return p, false
	}
	return logstore.Position{Time: int64(binary.BigEndian.Uint64(b)), Number: binary.BigEndian.Uint64(b[8:])}, true
}
