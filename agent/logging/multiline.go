package logging

import (
	"fmt"
	"regexp"

	"havn/logoption"
)

// multiline is what a line matches that begins a message; nil if every line does.
func multiline(c Container) (*regexp.Regexp, error) {
	if c.Driver() != "awslogs" {
		return nil, nil
	}
	pattern := c.option("awslogs-multiline-pattern")
	if format := c.option("awslogs-datetime-format"); format != "" {
		pattern = logoption.DatePattern(format)
	}
	if pattern == "" {
		return nil, nil
	}
	begins, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("cannot read the log option awslogs-multiline-pattern: %w", err)
	}
	return begins, nil
}
