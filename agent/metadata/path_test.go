package metadata

import (
	"strings"
	"testing"
)

func TestPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/v4/ID":                              ofContainer,
		"/v3/ID":                              ofContainer,
		"/v4/ID/task":                         ofTask,
		"/v4/ID/taskWithTags":                 ofTaskAndTags,
		"/v4/ID/stats":                        ofUse,
		"/v4/ID/task/stats":                   ofTaskUse,
		"/v4/ID/associations/gpu":             ofAssociations,
		"/v4/ID/associations/gpu/GPU-1":       ofAssociations,
		"/api/ID/task-protection/v1/state":    ofProtection,
		"/v2/metadata":                        ofVersionTwo,
		"/v2/metadata/0123":                   ofVersionTwo,
		"/v2/metadataWithTags":                ofVersionTwo,
		"/v2/stats":                           ofVersionTwo,
		"/v2/stats/0123":                      ofVersionTwo,
		"/":                                   "",
		"/v4":                                 "",
		"/v4/":                                "",
		"/v4/ID/":                             "",
		"/v4/ID/tasks":                        "",
		"/v4/ID/task/":                        "",
		"/v4/ID/associations":                 "",
		"/v4/ID/associations/":                "",
		"/v4/ID/associations/gpu/GPU-1/more":  "",
		"/v5/ID":                              "",
		"/v2/credentials/x":                   "",
		"/v2/metadata/a/b":                    "",
		"/api/ID":                             "",
		"/api/ID/task-protection/v1":          "",
		"/v4/" + strings.Repeat("x", maxPath): "",
	} {
		q, ok := parsePath(path)
		if !ok {
			q.what = ""
		}
		if q.what != want {
			t.Errorf("%.40s asks for %q, want %q", path, q.what, want)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, path := range []string{"/v4/ID", "/v4/ID/task/stats", "/v3/ID/associations/gpu/1", "/api/ID/fault/v1/network-latency/start", "/v2/metadata", "//"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		q, ok := parsePath(path)
		if !ok {
			return
		}
		if strings.Contains(q.id, "/") || q.what == "" || q.what != ofVersionTwo && q.what != ofFault && q.id == "" && q.what != ofProtection {
			t.Errorf("%q is taken for %+v", path, q)
		}
		_ = q.failure()
	})
}

// What is wished is decoded as it is encoded, and nothing else is taken.
func FuzzWish(f *testing.F) {
	for _, body := range []string{`{"ProtectionEnabled":true,"ExpiresInMinutes":5}`, `{}`, `null`, `{"Other":1}`, `{"ExpiresInMinutes":1e99}`} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		wish, err := decodeWish(strings.NewReader(body))
		if err == nil && wish.ProtectionEnabled != nil && !strings.Contains(strings.ToLower(body), "true") && *wish.ProtectionEnabled {
			t.Errorf("%q wishes for protection", body)
		}
	})
}
