package logquery

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// function is a function of the query language. It is null when an argument is,
// unless it takes that.
type function struct {
	least, most int // arguments; most is -1 for any number
	takesNull   bool
	call        func(r *row, args []value) value
}

// functions by their names in lower case: case does not count in a query. All are
// described in "Boolean, comparison, numeric, datetime, and other functions" of
// the CloudWatch Logs User Guide.
var functions = map[string]*function{
	"ispresent": {1, 1, true, func(_ *row, a []value) value { return boolValue(a[0].kind != kindNull) }},
	"coalesce": {1, -1, true, func(_ *row, a []value) value {
		for _, v := range a {
			if v.kind != kindNull {
				return v
			}
		}
		return value{}
	}},
	"if":          {3, 3, true, func(_ *row, a []value) value { return choose(a) }},
	"case":        {2, 21, true, func(_ *row, a []value) value { return choose(a) }},
	"isnumeric":   {1, 1, true, func(_ *row, a []value) value { _, ok := a[0].number(); return boolValue(ok) }},
	"messagesize": text1(func(s string) value { return numberValue(float64(len(s))) }),

	"abs":      number1(math.Abs),
	"ceil":     number1(math.Ceil),
	"floor":    number1(math.Floor),
	"log":      number1(math.Log),
	"sqrt":     number1(math.Sqrt),
	"tonumber": number1(func(n float64) float64 { return n }),
	"todouble": number1(func(n float64) float64 { return n }),
	"toint":    number1(math.Trunc),
	"tolong":   number1(math.Trunc),
	"greatest": {1, -1, false, func(_ *row, a []value) value { return slices.MaxFunc(a, order) }},
	"least":    {1, -1, false, func(_ *row, a []value) value { return slices.MinFunc(a, order) }},
	"round": {1, 2, false, func(_ *row, a []value) value {
		n, ok := a[0].number()
		digits := 0.0
		if len(a) > 1 {
			digits, _ = a[1].number()
		}
		if !ok || math.Abs(digits) > 15 {
			return value{}
		}
		scale := math.Pow(10, math.Trunc(digits))
		return finite(math.Round(n*scale) / scale)
	}},

	"isempty": {1, 1, true, func(_ *row, a []value) value { return boolValue(a[0].String() == "") }},
	"isblank": {1, 1, true, func(_ *row, a []value) value { return boolValue(strings.TrimSpace(a[0].String()) == "") }},
	"concat": {1, -1, true, func(_ *row, a []value) value {
		var b strings.Builder
		for _, v := range a {
			if b.WriteString(v.String()); b.Len() > maxText {
				return value{}
			}
		}
		return textValue(b.String())
	}},
	"ltrim":   trims(strings.TrimLeft),
	"rtrim":   trims(strings.TrimRight),
	"trim":    trims(strings.Trim),
	"strlen":  text1(func(s string) value { return numberValue(float64(utf8.RuneCountInString(s))) }),
	"toupper": text1(func(s string) value { return textValue(strings.ToUpper(s)) }),
	"tolower": text1(func(s string) value { return textValue(strings.ToLower(s)) }),
	"substr":  {2, 3, false, func(_ *row, a []value) value { return substr(a) }},
	"replace": {3, 3, false, func(_ *row, a []value) value {
		s, old, replacement := a[0].String(), a[1].String(), a[2].String()
		if old == "" {
			return textValue(s)
		}
		if grown := len(s) + strings.Count(s, old)*(len(replacement)-len(old)); grown > maxText {
			return value{}
		}
		return textValue(strings.ReplaceAll(s, old, replacement))
	}},
	"strcontains": {2, 3, false, func(_ *row, a []value) value {
		s, part := a[0].String(), a[1].String()
		if len(a) > 2 && a[2].isTrue() {
			s, part = strings.ToLower(s), strings.ToLower(part)
		}
		return boolValue(strings.Contains(s, part))
	}},
	"startswith":   {2, 2, false, func(_ *row, a []value) value { return boolValue(strings.HasPrefix(a[0].String(), a[1].String())) }},
	"endswith":     {2, 2, false, func(_ *row, a []value) value { return boolValue(strings.HasSuffix(a[0].String(), a[1].String())) }},
	"urlencode":    text1(func(s string) value { return textValue(url.QueryEscape(s)) }),
	"urldecode":    text1(func(s string) value { return orNull(url.QueryUnescape(s)) }),
	"base64encode": text1(func(s string) value { return textValue(base64.StdEncoding.EncodeToString([]byte(s))) }),
	"base64decode": text1(func(s string) value {
		b, err := base64.StdEncoding.DecodeString(s)
		return orNull(string(b), err)
	}),
	"hextoascii": text1(func(s string) value {
		b, err := hex.DecodeString(s)
		return orNull(string(b), err)
	}),
	"hextodec": text1(func(s string) value {
		n, err := strconv.ParseInt(strings.TrimPrefix(strings.ToLower(s), "0x"), 16, 64)
		if err != nil {
			return value{}
		}
		return numberValue(float64(n))
	}),
	"dectohex": {1, 1, false, func(_ *row, a []value) value {
		n, ok := a[0].number()
		switch {
		case !ok || math.Abs(n) >= 1<<63:
			return value{}
		case n < 0:
			return textValue("-0x" + strconv.FormatInt(int64(-n), 16))
		}
		return textValue("0x" + strconv.FormatInt(int64(n), 16))
	}},

	"jsonparse": text1(func(s string) value {
		if nodes, ok := parseJSON(nil, s); ok && (nodes[0].kind == jsonObject || nodes[0].kind == jsonArray) {
			return value{kind: kindStructure, text: s}
		}
		return value{}
	}),
	"jsonstringify": {1, 1, false, func(_ *row, a []value) value {
		if a[0].kind != kindStructure {
			return value{}
		}
		return textValue(a[0].text)
	}},
	"jsonarraysize": {1, 1, false, func(_ *row, a []value) value {
		list, ok := jsonList(a[0])
		if !ok {
			return value{}
		}
		return numberValue(float64(len(list)))
	}},
	"jsonarraycontains": {2, 2, false, func(_ *row, a []value) value {
		list, _ := jsonList(a[0])
		return boolValue(slices.ContainsFunc(list, func(v value) bool { return v.kind != kindNull && boolText(v) == a[1].String() }))
	}},
	"split": {2, 2, false, func(_ *row, a []value) value {
		s := a[0].String()
		if len(s) > maxText/8 || a[1].String() == "" {
			return value{}
		}
		list, err := json.Marshal(strings.Split(s, a[1].String()))
		if err != nil {
			return value{}
		}
		return value{kind: kindStructure, text: string(list)}
	}},
}

// maxText is the longest text that a function may make, in bytes: as long as an
// event may be. What would be longer is null.
const maxText = 1 << 20

// choose is the value after the first condition that holds, or the last one when
// that has none.
func choose(a []value) value {
	for len(a) > 1 {
		if a[0].isTrue() {
			return a[1]
		}
		a = a[2:]
	}
	if len(a) == 1 {
		return a[0]
	}
	return value{}
}

func orNull(s string, err error) value {
	if err != nil {
		return value{}
	}
	return textValue(s)
}

func text1(f func(string) value) *function {
	return &function{1, 1, false, func(_ *row, a []value) value {
		if a[0].kind == kindStructure {
			return value{} // "Maps and lists are treated as null"
		}
		return f(a[0].String())
	}}
}

func number1(f func(float64) float64) *function {
	return &function{1, 1, false, func(_ *row, a []value) value {
		n, ok := a[0].number()
		if !ok {
			return value{}
		}
		return finite(f(n))
	}}
}

func trims(f func(s, cut string) string) *function {
	return &function{1, 2, false, func(_ *row, a []value) value {
		cut := " \t\r\n\v\f"
		if len(a) > 1 {
			cut = a[1].String()
		}
		return textValue(f(a[0].String(), cut))
	}}
}

// substr counts in characters, from 0.
func substr(a []value) value {
	s := []rune(a[0].String())
	start, ok := a[1].number()
	if !ok {
		return value{}
	}
	length := float64(len(s))
	if len(a) > 2 {
		if length, ok = a[2].number(); !ok {
			return value{}
		}
	}
	from := int(min(max(start, 0), float64(len(s))))
	return textValue(string(s[from : from+int(min(max(length, 0), float64(len(s)-from)))]))
}

// jsonList is the elements of a JSON array.
func jsonList(v value) (list []value, ok bool) {
	nodes, ok := parseJSON(nil, v.text)
	if !ok || nodes[0].kind != jsonArray {
		return nil, false
	}
	for i := 1; i < len(nodes); i = nodes[i].end {
		list = append(list, jsonScalar(&nodes[i]))
	}
	return list, true
}

// regexReplace is made by the parser, since its pattern is compiled once.
func regexReplace(re *regexp.Regexp) *function {
	return &function{3, 3, false, func(_ *row, a []value) value {
		s, replacement := a[0].String(), a[2].String()
		// A dollar sign may stand for a group, which is no longer than its match.
		grown := len(re.FindAllStringIndex(s, -1))*len(replacement) + (1+strings.Count(replacement, "$"))*len(s)
		if grown > maxText {
			return value{}
		}
		return textValue(re.ReplaceAllString(s, replacement))
	}}
}
