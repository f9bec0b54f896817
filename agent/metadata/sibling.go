package metadata

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
)

// there reports whether a Havn of that name has been on the machine since it started.
func (s *Server) there(name string) bool {
	_, err := os.Stat(s.socket(name))
	return err == nil
}

// passOn gives a request to the Havn that its id names, which counts it. Where that does not run, nobody has the id.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, name string, q request) {
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "sibling" },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", s.socket(name))
			},
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.Log.Debug("another Havn does not answer", "name", name, "error", err)
			s.refuse(w, q, errors.Join(errUnknown, err))
		},
	}
	proxy.ServeHTTP(w, r)
}
