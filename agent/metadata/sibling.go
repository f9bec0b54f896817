package metadata

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
)

// passOn gives a request to the Havn that its id names. Where there is none, nobody has the id.
func (s *Server) passOn(w http.ResponseWriter, r *http.Request, name string, q request) {
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.Out.URL.Scheme, p.Out.URL.Host = "http", "sibling" },
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", s.socket(name))
			},
		},
		ModifyResponse: func(resp *http.Response) error {
			for header := range w.Header() { // what we have said already
				resp.Header.Del(header)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			s.Log.Info("another Havn does not answer", "name", name, "error", err)
			s.refuse(w, q, errors.Join(errUnknown, err))
		},
	}
	proxy.ServeHTTP(w, r)
}
