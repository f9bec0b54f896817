package logging

import (
	"strings"
	"testing"

	"havn/protocol"
)

// A tag was a program once that ran without end and took all of the node's memory, again after each restart of Havn.
func TestATagIsNoProgram(t *testing.T) {
	for _, driver := range []string{"json-file", "syslog"} {
		c := container(t, driver, map[string]string{"tag": "{{range 3000000000}}x{{end}}"})
		if _, err := c.Spool(); err == nil || !strings.HasPrefix(err.Error(), "cannot read the log option tag: {{range 3000000000}} is not supported") {
			t.Errorf("%s: %v", driver, err)
		}
	}
}

func TestWhatATagNames(t *testing.T) {
	c := Container{ID: "0123456789abcdef", Name: "web", Image: "shop:1", ImageID: "sha256:fedcba9876543210",
		Config: &protocol.LogConfig{Config: map[string]string{
			"tag": "{{.ID}} {{.FullID}} {{.Name}} {{.ImageID}} {{.ImageName}} {{.ImageFullID}} {{.DaemonName}}"}}}
	want := "0123456789ab 0123456789abcdef web fedcba987654 shop:1 sha256:fedcba9876543210 havn"
	if got, err := c.tag(""); err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	c.ID, c.ImageID, c.Config = "01", "", nil
	if got, err := c.tag(""); err != nil || got != "01" {
		t.Errorf("without the option: %q, %v", got, err)
	}
	if got, err := c.tag("{{.Name}}/{{.ImageID}}"); err != nil || got != "web/" {
		t.Errorf("without an image: %q, %v", got, err)
	}
}
