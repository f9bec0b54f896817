package jsonfile

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
)

// Options say where and how a Writer writes. They travel to the shim as a URI.
type Options struct {
	Path     string // absolute
	MaxSize  int64  // bytes of a file; 0 = without end
	MaxFile  int    // how many files there are at most, with the one that is written; 0 = 1
	Compress bool   // the full ones, with gzip
	// Hold: a full file is not deleted by the Writer. It waits until somebody else has deleted the oldest, and the
	// container waits with it.
	Hold  bool
	Attrs json.RawMessage // a JSON object that is part of each line
}

const scheme = "havn-log"

// URI is the options as a containerd client gives them for standard output.
func (o Options) URI() string {
	q := url.Values{}
	if o.MaxSize > 0 {
		q.Set("max-size", strconv.FormatInt(o.MaxSize, 10))
		q.Set("max-file", strconv.Itoa(o.MaxFile))
	}
	if o.Compress {
		q.Set("compress", "true")
	}
	if o.Hold {
		q.Set("hold", "true")
	}
	if len(o.Attrs) > 0 {
		q.Set("attrs", string(o.Attrs))
	}
	return (&url.URL{Scheme: scheme, Path: o.Path, RawQuery: q.Encode()}).String()
}

// ParseURI reads what URI wrote. Ours is false for a URI of another scheme.
func ParseURI(uri string) (o Options, ours bool, err error) {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != scheme {
		return Options{}, false, nil
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, true, fmt.Errorf("cannot read the log options of %q: %w", uri, err)
	}
	o = Options{Path: u.Path, Compress: q.Get("compress") == "true", Hold: q.Get("hold") == "true"}
	if !filepath.IsAbs(o.Path) {
		return Options{}, true, fmt.Errorf("the log's path %q is not absolute", o.Path)
	}
	if size := q.Get("max-size"); size != "" {
		var errFile error
		o.MaxSize, err = strconv.ParseInt(size, 10, 64)
		o.MaxFile, errFile = strconv.Atoi(q.Get("max-file"))
		if err != nil || errFile != nil || o.MaxSize <= 0 || o.MaxFile < 0 {
			return Options{}, true, fmt.Errorf("cannot read the log options of %q", uri)
		}
	}
	if attrs := q.Get("attrs"); attrs != "" {
		if !json.Valid([]byte(attrs)) {
			return Options{}, true, fmt.Errorf("the log's attributes %q are no JSON", attrs)
		}
		o.Attrs = json.RawMessage(attrs)
	}
	return o, true, nil
}
