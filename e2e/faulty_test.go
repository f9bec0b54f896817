package e2e

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"havn/testimage"
)

// faultyRegistry fails in the way that the repository's name says. Behind it is one that works.
type faultyRegistry struct {
	address string
	inner   *ociRegistry
}

var quiet = log.New(io.Discard, "", 0)

func startFaultyRegistry(t *testing.T) *faultyRegistry {
	inner := startRegistry(t)
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner.address})
	behind.ErrorLog = quiet
	behind.ModifyResponse = func(r *http.Response) error {
		r.Header.Del("Docker-Content-Digest") // which the client then works out itself
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repository, what, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
		blob := strings.HasPrefix(what, "blobs/")
		pass := func() { // to an image that is there
			r.URL.Path = "/v2/busybox/" + what
			behind.ServeHTTP(w, r)
		}
		switch repository {
		case "unauthorized":
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			w.WriteHeader(http.StatusUnauthorized)
		case "forbidden":
			w.WriteHeader(http.StatusForbidden)
		case "fails":
			w.WriteHeader(http.StatusInternalServerError)
		case "limited":
			w.WriteHeader(http.StatusTooManyRequests)
		case "breaks-off":
			if connection, _, err := http.NewResponseController(w).Hijack(); err == nil {
				connection.Close()
			}
		case "nonsense":
			w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
			io.WriteString(w, "this is no manifest")
		case "liar":
			what = "manifests/v1"
			pass()
		case "foreign":
			if strings.HasPrefix(what, "manifests/") {
				w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
				io.WriteString(w, foreignIndex)
				return
			}
			pass()
		case "corrupt":
			if !blob {
				pass()
				return
			}
			whole := httptest.NewRecorder()
			r.URL.Path = "/v2/busybox/" + what
			behind.ServeHTTP(whole, r)
			content := whole.Body.Bytes()
			content[len(content)-1]++ // as long as it should be
			w.Write(content)
		case "hollow":
			if blob {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			r.URL.Path = "/v2/other/" + what // of a layer in transit, containerd has one; so not the corrupt one
			behind.ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	server.Config.ErrorLog = quiet
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return &faultyRegistry{strings.TrimPrefix(server.URL, "http://"), inner}
}

// foreignIndex is of an image for a mainframe alone.
const foreignIndex = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":7,"digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","platform":{"os":"linux","architecture":"s390x"}}]}`

// pushPrograms pushes images of one program each that cannot be executed, and returns their references.
func pushPrograms(t *testing.T, r *ociRegistry) map[string]string {
	dir := t.TempDir()
	other := elf.EM_AARCH64
	if runtime.GOARCH == "arm64" {
		other = elf.EM_X86_64
	}
	static, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	foreign := append([]byte(nil), static...)
	binary.LittleEndian.PutUint16(foreign[18:], uint16(other)) // e_machine; elf(5)
	dynamic, err := os.ReadFile("/bin/cat")
	if err != nil {
		t.Fatal(err)
	}
	refs := map[string]string{}
	for name, content := range map[string][]byte{
		"foreign": foreign, "dynamic": dynamic, "text": []byte("no program\n"), "no-command": []byte("none\n"),
		"script": []byte("#!/usr/bin/python3\nprint(1)\n"), "crlf": []byte("#!/bin/sh\r\necho 1\r\n"),
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		spec := testimage.Busybox()
		spec.Files["/program"] = file
		spec.Config = v1.Config{Env: []string{"PATH=/bin"}, Cmd: []string{"/program"}}
		if name == "no-command" {
			spec.Config.Cmd = nil
		}
		if err := r.push("program", name, spec); err != nil {
			t.Fatal(err)
		}
		refs[name] = r.address + "/program:" + name
	}
	return refs
}

// outsideAddress is one of this machine's that is not on the loopback, where a registry must have a certificate.
func outsideAddress(t *testing.T) string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.To4() != nil && !ip.IP.IsLoopback() {
			return ip.IP.String()
		}
	}
	t.Fatal("this machine has no address but on the loopback")
	return ""
}

func listenOn(t *testing.T, host string) net.Listener {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}
