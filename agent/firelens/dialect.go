package firelens

import (
	"maps"
	"slices"
)

// fluentBit is Fluent Bit's classic mode. Fluent Bit documentation, "Format and schema".
var fluentBit = dialect{
	name: "Name", include: "@INCLUDE", stars: "*",
	section: section,
	grep: func(w *writer, match string, keep bool, pattern string) {
		rule := "Exclude"
		if keep {
			rule = "Regex"
		}
		section(w, "FILTER", match, [][2]string{{"Name", "grep"}, {rule, "log " + pattern}})
	},
	record: func(w *writer, fields map[string]string) {
		body := [][2]string{{"Name", "record_modifier"}}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			body = append(body, [2]string{"Record", name + " " + fields[name]})
		}
		section(w, "FILTER", "*", body)
	},
}

func section(w *writer, kind, match string, body [][2]string) {
	w.line(0, "["+kind+"]")
	for i, pair := range body {
		w.line(1, pair[0], pair[1])
		if i == 0 && match != "" {
			w.line(1, "Match", match)
		}
	}
	w.line(0)
}

// fluentd is Fluentd's own. Fluentd documentation, "Config File Syntax".
var fluentd = dialect{
	name: "@type", include: "@include", stars: "**",
	section: element,
	grep: func(w *writer, match string, keep bool, pattern string) {
		rule := "exclude"
		if keep {
			rule = "regexp"
		}
		w.line(0, "<filter "+match+">")
		w.line(1, "@type grep")
		w.line(1, "<"+rule+">")
		w.line(2, "key log")
		w.line(2, "pattern", pattern)
		w.line(1, "</"+rule+">")
		w.line(0, "</filter>")
		w.line(0)
	},
	record: func(w *writer, fields map[string]string) {
		w.line(0, "<filter **>")
		w.line(1, "@type record_transformer")
		w.line(1, "<record>")
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			w.line(2, name, fields[name])
		}
		w.line(1, "</record>")
		w.line(0, "</filter>")
		w.line(0)
	},
}

func element(w *writer, kind, match string, body [][2]string) {
	open := kind
	if match != "" {
		open += " " + match
	}
	w.line(0, "<"+open+">")
	for _, pair := range body {
		w.line(1, pair[0], pair[1])
	}
	w.line(0, "</"+kind+">")
	w.line(0)
}
