package logging

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
)

// splunk gives messages to Splunk's HTTP Event Collector. Docker documentation, "Splunk logging driver"; Splunk
// documentation, "HTTP Event Collector REST API endpoints".
type splunk struct {
	client *http.Client
	url    string
	token  string
	verify bool // whether to ask before the container starts
	gzip   int  // the level; gzip.NoCompression: not at all
	format string
	tag    string
	attrs  map[string]string
	same   splunkEvent // what is the same in every event
}

// splunkEvent is an event as the collector takes it.
type splunkEvent struct {
	Event      any    `json:"event"`
	Time       string `json:"time"` // in seconds
	Host       string `json:"host"`
	Source     string `json:"source,omitempty"`
	SourceType string `json:"sourcetype,omitempty"`
	Index      string `json:"index,omitempty"`
}

// splunkLine is the event of the formats inline and json.
type splunkLine struct {
	Line   any               `json:"line"` // a text, or with the format json what the line holds if it holds JSON
	Source string            `json:"source"`
	Tag    string            `json:"tag,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
}

// maxSplunkAnswer is how much of a refusal is told.
const maxSplunkAnswer = 1 << 10

func newSplunk(c Container) (s *splunk, err error) {
	s = &splunk{token: c.option("splunk-token"), format: c.option("splunk-format")}
	if s.token == "" {
		return nil, errors.New("splunk: splunk-token is expected")
	}
	if s.url, err = splunkURL(c.option("splunk-url")); err != nil {
		return nil, err
	}
	switch s.format {
	case "", "inline", "json", "raw":
	default:
		return nil, fmt.Errorf("splunk: unknown format %q: it is inline, json or raw", s.format)
	}
	if s.verify, err = c.flag("splunk-verify-connection", true); err != nil {
		return nil, err
	}
	if s.gzip, err = splunkGzip(c); err != nil {
		return nil, err
	}
	if given, ok := c.Config.Config["tag"]; !ok || given != "" { // an empty one is none, here only
		if s.tag, err = c.tag(""); err != nil {
			return nil, err
		}
	}
	if s.attrs, err = c.extra(); err != nil {
		return nil, err
	}
	s.same = splunkEvent{Source: c.option("splunk-source"), SourceType: c.option("splunk-sourcetype"), Index: c.option("splunk-index")}
	if s.same.Host, err = os.Hostname(); err != nil {
		return nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = tlsConfig(c.option("splunk-capath"), "", ""); err != nil {
		return nil, err
	}
	transport.TLSClientConfig.ServerName = c.option("splunk-caname")
	if transport.TLSClientConfig.InsecureSkipVerify, err = c.flag("splunk-insecureskipverify", false); err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: transport,
		// The token is for the one that the configuration names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return s, nil
}

func splunkURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", errors.New("splunk: cannot read the log option splunk-url")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("splunk: expected format scheme://dns_name_or_ip:port for splunk-url")
	}
	u.Path = "/services/collector/event/1.0"
	return u.String(), nil
}

func splunkGzip(c Container) (level int, err error) {
	on, err := c.flag("splunk-gzip", false)
	if err != nil || !on {
		return gzip.NoCompression, err
	}
	level = gzip.DefaultCompression
	if text := c.option("splunk-gzip-level"); text != "" {
		if level, err = strconv.Atoi(text); err != nil || level < gzip.DefaultCompression || level > gzip.BestCompression {
			return 0, fmt.Errorf("splunk: not supported level %q for splunk-gzip-level (supported values between -1 and 9)", text)
		}
	}
	return level, nil
}

// prepare asks whether the collector is there, unless the configuration says not to.
func (s *splunk) prepare(ctx context.Context) error {
	if !s.verify {
		return nil
	}
	return s.call(ctx, http.MethodOptions, nil)
}

func (s *splunk) send(ctx context.Context, batch []Message) error {
	var body bytes.Buffer
	events := json.NewEncoder(&body)
	events.SetEscapeHTML(false)
	for _, m := range batch {
		if len(bytes.Fields(m.Text)) == 0 && s.format != "" && s.format != "inline" { // the collector takes no such event
			continue
		}
		event := s.same
		event.Time = fmt.Sprintf("%d.%06d", m.Time.Unix(), m.Time.Nanosecond()/1e3)
		event.Event = s.event(m)
		if err := events.Encode(event); err != nil {
			return fmt.Errorf("splunk: cannot write an event: %w", err)
		}
	}
	if body.Len() == 0 {
		return nil
	}
	return s.call(ctx, http.MethodPost, body.Bytes())
}

func (s *splunk) event(m Message) any {
	if s.format == "raw" {
		var b strings.Builder
		if s.tag != "" {
			b.WriteString(s.tag + " ")
		}
		for _, name := range slices.Sorted(maps.Keys(s.attrs)) {
			b.WriteString(name + "=" + s.attrs[name] + " ")
		}
		b.Write(m.Text)
		return b.String()
	}
	line := splunkLine{Line: string(m.Text), Source: m.Stream, Tag: s.tag, Attrs: s.attrs}
	if s.format == "json" && json.Valid(m.Text) {
		line.Line = json.RawMessage(m.Text)
	}
	return line
}

func (s *splunk) call(ctx context.Context, method string, body []byte) error {
	zipped := method == http.MethodPost && s.gzip != gzip.NoCompression
	if zipped {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, s.gzip)
		if err == nil {
			_, err = w.Write(body)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return fmt.Errorf("splunk: cannot compress events: %w", err)
		}
		body = b.Bytes()
	}
	r, err := http.NewRequestWithContext(ctx, method, s.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Splunk "+s.token)
	if zipped {
		r.Header.Set("Content-Encoding", "gzip")
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("splunk: %w", err)
	}
	defer answer.Body.Close()
	// Read in any case, so that the connection can be used again.
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxSplunkAnswer))
	switch {
	case answer.StatusCode == http.StatusOK:
		return nil
	case err != nil:
		text = nil
	}
	return &splunkRefusal{answer.StatusCode, strings.ReplaceAll(string(text), s.token, "TOKEN")}
}

// Close ends the connections.
func (s *splunk) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// splunkRefusal is an answer other than 200.
type splunkRefusal struct {
	status int
	text   string
}

func (r *splunkRefusal) Error() string {
	return fmt.Sprintf("splunk: failed to send event - %d %s - %s", r.status, http.StatusText(r.status), r.text)
}

// final reports whether trying again is of no use.
func (r *splunkRefusal) final() bool {
	return r.status < 500 && r.status != http.StatusRequestTimeout && r.status != http.StatusTooManyRequests
}
