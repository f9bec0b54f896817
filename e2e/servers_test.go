package e2e

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.etcd.io/etcd/server/v3/embed"

	"havn/testimage"
)

// ociRegistry is an image registry on loopback, over plain HTTP. It holds busybox:v1, busybox:v2 and other:v1.
// It answers GET /hold by keeping every layer that is asked for from then on until GET /release, and GET /held when one is asked for.
type ociRegistry struct {
	address string
}

func startRegistry(t *testing.T) *ociRegistry {
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	gate := newGate()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/hold":
			gate.hold()
		case r.URL.Path == "/held":
			gate.waitHeld(r.Context())
		case r.URL.Path == "/release":
			gate.release()
		case strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet:
			if gate.pass(r.Context()) {
				inner.ServeHTTP(w, r)
			}
		default:
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(func() { gate.release(); server.CloseClientConnections(); server.Close() })
	r := &ociRegistry{strings.TrimPrefix(server.URL, "http://")}
	other := testimage.Busybox("echo", "other")
	other.Links["/other"] = "bin" // so that its layer is not the other images', too
	err := errorsOf(
		r.push("busybox", "v1", testimage.Busybox("echo", "one")),
		r.push("busybox", "v2", testimage.Busybox("echo", "two")),
		r.push("other", "v1", other),
	)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// push uploads an image: its layers, its config, and then the manifest that names them.
func (r *ociRegistry) push(repository, tag string, spec testimage.Spec) error {
	image, err := testimage.Image(spec)
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	base := "http://" + r.address + "/v2/" + repository
	for _, layer := range layers {
		digest, err := layer.Digest()
		if err != nil {
			return err
		}
		content, err := layer.Compressed()
		if err != nil {
			return err
		}
		if err := upload(http.MethodPost, base+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", content); err != nil {
			return err
		}
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := image.ConfigName()
	if err != nil {
		return err
	}
	if err := upload(http.MethodPost, base+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	mediaType, err := image.MediaType()
	if err != nil {
		return err
	}
	return upload(http.MethodPut, base+"/manifests/"+tag, string(mediaType), bytes.NewReader(manifest))
}

func upload(method, url, contentType string, content io.Reader) error {
	req, err := http.NewRequest(method, url, content)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("cannot push: %s %s: %s", method, url, res.Status)
	}
	return nil
}

// startEtcd starts an etcd that is not Havn's own, and returns its endpoint.
func startEtcd(t *testing.T) (string, error) {
	cfg := embed.NewConfig()
	dir, err := os.MkdirTemp("", "hvn-etcd-")
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	client, peer := url.URL{Scheme: "http", Host: "127.0.0.1:" + freePort()}, url.URL{Scheme: "http", Host: "127.0.0.1:" + freePort()}
	cfg.Dir, cfg.LogLevel, cfg.LogOutputs = dir, "error", []string{os.DevNull}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return "", fmt.Errorf("cannot start etcd: %w", err)
	}
	t.Cleanup(server.Close)
	select {
	case <-server.Server.ReadyNotify():
		return client.String(), nil
	case err := <-server.Err():
		return "", fmt.Errorf("etcd ended: %w", err)
	}
}
