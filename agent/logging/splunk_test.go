package logging

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"havn/agent/logging/jsonfile"
)

// collector is as much of Splunk's HTTP Event Collector as the driver needs. It gives each event to take.
func collector(token string, take func(event map[string]any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Splunk "+token {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"text":"Invalid token `+r.Header.Get("Authorization")+`","code":4}`)
			return
		}
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			var err error
			if body, err = gzip.NewReader(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
		for events := json.NewDecoder(body); r.Method == http.MethodPost && r.URL.Path == "/services/collector/event/1.0"; {
			var event map[string]any
			if err := events.Decode(&event); err != nil {
				break
			}
			take(event)
		}
		io.WriteString(w, `{"text":"Success","code":0}`)
	}
}

func TestSplunk(t *testing.T) {
	address := freePort(t, "tcp")
	c := container(t, "splunk", map[string]string{"splunk-url": "http://" + address, "splunk-token": "hush", "splunk-gzip": "true"})
	r := newReceiver(func(t *testing.T, r *receiver) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewUnstartedServer(collector("hush", func(event map[string]any) {
			r.take(event["event"].(map[string]any)["line"].(string))
		}))
		server.Listener.Close()
		server.Listener = l
		server.Start()
		r.close = append(r.close, server.Close)
	})
	if said := shipThrough(t, c, r, Config{}); strings.Contains(said, "hush") {
		t.Errorf("the token is told: %s", said)
	}
}

func TestSplunkFormats(t *testing.T) {
	var got []map[string]any
	server := httptest.NewTLSServer(collector("hush", func(event map[string]any) { got = append(got, event) }))
	defer server.Close()
	for _, one := range []struct{ format, text, want string }{
		{"", "a <line>", `{"attrs":{"own":"o"},"line":"a <line>","source":"stderr","tag":"it"}`},
		{"inline", `{"a":1}`, `{"attrs":{"own":"o"},"line":"{\"a\":1}","source":"stderr","tag":"it"}`},
		{"json", `{"a":1}`, `{"attrs":{"own":"o"},"line":{"a":1},"source":"stderr","tag":"it"}`},
		{"json", `{"a"`, `{"attrs":{"own":"o"},"line":"{\"a\"","source":"stderr","tag":"it"}`},
		{"raw", "text", `"it own=o text"`},
		{"raw", " \t", `null`},
	} {
		c := container(t, "splunk", map[string]string{"splunk-url": server.URL, "splunk-token": "hush", "splunk-format": one.format, "tag": "it", "labels": "own",
			"splunk-insecureskipverify": "true", "splunk-source": "s", "splunk-sourcetype": "st", "splunk-index": "i"})
		c.Labels = map[string]string{"own": "o"}
		s, err := newSplunk(c)
		if err != nil {
			t.Fatal(err)
		}
		got = []map[string]any{{}}
		if err := s.send(t.Context(), []Message{{Text: []byte(one.text), Stream: jsonfile.Stderr, Time: epoch}}); err != nil {
			t.Fatal(err)
		}
		s.Close()
		last := got[len(got)-1]
		var event strings.Builder
		e := json.NewEncoder(&event)
		e.SetEscapeHTML(false)
		if err := e.Encode(last["event"]); err != nil || strings.TrimSpace(event.String()) != one.want {
			t.Errorf("%s: %s, %v, want %s", one.format, event.String(), err, one.want)
		}
		if last["event"] != nil && (last["time"] != "1767323045.000000" || last["source"] != "s" || last["sourcetype"] != "st" || last["index"] != "i" || last["host"] == "") {
			t.Errorf("%s: %v", one.format, last)
		}
	}
}

// A collector that says no keeps the container from starting, as with Docker, unless nobody asks it. The token is told
// nobody, even where the answer repeats it.
func TestSplunkThatRefuses(t *testing.T) {
	server := httptest.NewServer(collector("another", nil))
	defer server.Close()
	s, err := NewShipper(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := container(t, "splunk", map[string]string{"splunk-url": server.URL, "splunk-token": "hush"})
	err = s.Prepare(t.Context(), c)
	if want := "failed to initialize logging driver: splunk: failed to send event - 403 Forbidden - " +
		`{"text":"Invalid token Splunk TOKEN","code":4}`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c.Config.Config["splunk-verify-connection"] = "false"
	if err := s.Prepare(t.Context(), c); err != nil {
		t.Error(err)
	}
}
