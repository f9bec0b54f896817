package bucket

import (
	"bytes"
	"fmt"
	"strings"
)

// MaxEnvironmentFile is how many bytes an environment file may have. A process can be given two megabytes of arguments
// and environment together. execve(2), "Limits on size of arguments and environment".
const MaxEnvironmentFile = 1 << 20

// maxVariable is how long NAME=VALUE may be, with a zero after it: MAX_ARG_STRLEN, also of execve(2).
const maxVariable = 128<<10 - 1

// Environment reads a file of lines NAME=VALUE. A line that begins with # is a comment. Spaces and quotation marks are a
// part of the value, a later line of the same name takes the place of an earlier one, and a line without a name, a value
// or an = says nothing. Amazon ECS Developer Guide, "Pass an individual environment variable to a container", environment
// files.
func Environment(file []byte) (map[string]string, error) {
	variables := map[string]string{}
	number := 0
	for line := range bytes.Lines(file) {
		number++
		text := strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")
		if strings.HasPrefix(text, "#") {
			continue
		}
		name, value, _ := strings.Cut(text, "=")
		if name == "" || value == "" {
			continue
		}
		if strings.ContainsRune(text, 0) {
			return nil, fmt.Errorf("line %d contains a NUL character", number)
		}
		if len(text) > maxVariable {
			return nil, fmt.Errorf("line %d has %d bytes, and may have %d", number, len(text), maxVariable)
		}
		variables[name] = value
	}
	return variables, nil
}
