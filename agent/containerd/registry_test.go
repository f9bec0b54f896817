package containerd

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"

	"havn/lifecycle"
	"havn/protocol"
)

// faulty is a registry in memory that can be made to fail.
type faulty struct {
	t    testing.TB
	host string

	mu       sync.Mutex
	requests int
	fault    func(w http.ResponseWriter, r *http.Request) bool // true: answered
}

func newRegistry(t testing.TB) *faulty {
	f := &faulty{t: t}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests++
		fault := f.fault
		f.mu.Unlock()
		if fault == nil || !fault(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	f.host = strings.TrimPrefix(s.URL, "http://")
	return f
}

func (f *faulty) fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.requests = fault, 0
}

func (f *faulty) asked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests
}

// push returns the whole reference.
func (f *faulty) push(ref string, img v1.Image) (string, v1.Hash) {
	f.t.Helper()
	repository, tag, _ := strings.Cut(ref, ":")
	layers, err := img.Layers()
	if err != nil {
		f.t.Fatal(err)
	}
	for _, l := range layers {
		content, err := l.Compressed()
		if err != nil {
			f.t.Fatal(err)
		}
		digest, _ := l.Digest()
		f.send(http.MethodPost, repository+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", content)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		f.t.Fatal(err)
	}
	digest, _ := img.ConfigName()
	f.send(http.MethodPost, repository+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", bytes.NewReader(config))
	manifest, err := img.RawManifest()
	if err != nil {
		f.t.Fatal(err)
	}
	media, _ := img.MediaType()
	digest, _ = img.Digest()
	f.send(http.MethodPut, repository+"/manifests/"+digest.String(), string(media), bytes.NewReader(manifest))
	f.send(http.MethodPut, repository+"/manifests/"+tag, string(media), bytes.NewReader(manifest))
	return f.host + "/" + ref, digest
}

func (f *faulty) send(method, path, media string, body io.Reader) {
	f.t.Helper()
	r, err := http.NewRequest(method, "http://"+f.host+"/v2/"+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		f.t.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

func status(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(code)
		return true
	}
}

func TestPullFromARegistry(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	ref, digest := reg.push("shop/web:1", busybox(t, nil))
	for _, image := range []string{ref, strings.TrimSuffix(ref, ":1") + "@" + digest.String(), ref + "@" + digest.String()} {
		task := oneTask(image, "sh", "-c", "exit 4")
		n.must(task, lifecycle.Connect, "")
		r := n.must(task, lifecycle.Pull, "c")
		if r.Digest != digest.String() || r.StartedAt.IsZero() || r.FinishedAt.Before(r.StartedAt) {
			t.Errorf("%s: %+v", image, r)
		}
		n.must(task, lifecycle.Create, "c")
		n.must(task, lifecycle.Start, "c")
		if r := n.must(task, lifecycle.Wait, "c"); r.ExitCode != 4 {
			t.Errorf("%s: exit code %d", image, r.ExitCode)
		}
		n.clean(task)
	}
}

// An agent that was killed just after a Start pulls again before it finds the container running.
func TestWhatRunsNeedsNoRegistry(t *testing.T) {
	n, reg := makeNode(t), newRegistry(t)
	n.config.ImagePullBehavior = PullAlways
	n.open()
	t.Cleanup(n.destroy)
	ref, digest := reg.push("web:latest", busybox(t, nil))
	task := oneTask(ref, "sleep", "1000000")
	n.run(task)
	n.close()
	n.open()
	reg.push("web:latest", busybox(t, func(c *v1.ConfigFile) { c.Config.Env = []string{"NEW=1"} }))
	reg.fail(status(http.StatusInternalServerError))
	n.run(task)
	if r := n.must(task, lifecycle.Pull, "c"); r.Digest != digest.String() {
		t.Errorf("digest %s, want %s", r.Digest, digest)
	}
	if asked := reg.asked(); asked > 0 {
		t.Errorf("the registry was asked %d times", asked)
	}
	n.clean(task)
	if r := n.do(task, lifecycle.Pull, "c"); r.Reason == "" {
		t.Error("a pull for a container that is gone does not ask the registry")
	}
}

func TestPullBehaviors(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	ref, first := reg.push("web:latest", busybox(t, nil))
	pull := func(b PullBehavior, ref string) lifecycle.Result {
		n.Runtime.behavior = b
		return n.do(oneTask(ref), lifecycle.Pull, "c")
	}
	expect := func(what string, r lifecycle.Result, digest v1.Hash, asked bool) {
		t.Helper()
		if r.Reason != "" || r.Digest != digest.String() {
			t.Errorf("%s: digest %s, reason %q; want %s", what, r.Digest, r.Reason, digest)
		}
		if got := reg.asked() > 0; got != asked {
			t.Errorf("%s: the registry was asked: %v", what, got)
		}
		reg.fail(nil)
	}
	reg.fail(nil)
	expect("once, nothing present", pull(PullOnce, ref), first, true)
	_, second := reg.push("web:latest", busybox(t, func(c *v1.ConfigFile) { c.Config.Env = []string{"NEW=1"} }))
	reg.fail(nil)
	expect("once", pull(PullOnce, ref), first, false)
	expect("prefer-cached", pull(PullPreferCached, ref), first, false)
	expect("default takes the new one", pull(PullDefault, ref), second, true)
	reg.fail(status(http.StatusInternalServerError))
	expect("default makes do", pull(PullDefault, ref), second, true)
	reg.fail(status(http.StatusInternalServerError))
	if r := pull(PullAlways, ref); !strings.HasPrefix(r.Reason, "CannotPullImageManifestError: ") || !strings.Contains(r.Reason, "500 Internal Server Error") {
		t.Errorf("always: %+v", r)
	}

	reg.fail(status(http.StatusNotFound))
	n.load(reg.host+"/loaded:1", busybox(t, nil))
	for _, b := range []PullBehavior{PullDefault, PullAlways, PullOnce, PullPreferCached} {
		if r := pull(b, reg.host+"/loaded:1"); r.Reason != "" || r.Digest != "" || reg.asked() > 0 {
			t.Errorf("%s of a loaded image: %+v, %d requests", b, r, reg.asked())
		}
	}
}

func TestPullFailuresAreWordedAsECSDoes(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	n.Runtime.behavior = PullAlways
	ref, _ := reg.push("web:1", busybox(t, nil))
	other := busybox(t, func(c *v1.ConfigFile) { c.Architecture = "s390x" })
	index := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: other, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}}})
	reg.push("foreign:s390x", other)
	manifest, err := index.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	reg.send(http.MethodPut, "foreign/manifests/1", "application/vnd.oci.image.index.v1+json", bytes.NewReader(manifest))
	blobs := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				w.WriteHeader(code)
				return true
			}
			return false
		}
	}
	for _, test := range []struct {
		name, image string
		fault       func(http.ResponseWriter, *http.Request) bool
		want        []string
	}{
		{"no such image", reg.host + "/missing:1", nil, []string{"CannotPullImageManifestError: The task can’t pull the image. Check whether the image exists. Error response from daemon: manifest for ", "/missing:1 not found: manifest unknown"}},
		{"unauthorized", ref, func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, []string{"CannotPullImageManifestError: The task can’t pull the image. Check that the role has the permissions to pull images from the registry. Error response from daemon: pull access denied for ", "/web, repository does not exist or may require 'docker login'"}},
		{"forbidden", ref, status(http.StatusForbidden), []string{"Check that the role has the permissions"}},
		{"nobody listens", "127.0.0.1:1/web:1", nil, []string{"CannotPullImageManifestError: The task can’t pull the image. Check your network configuration. Error response from daemon: ", "http://127.0.0.1:1/v2/web/manifests/1", "connect: connection refused"}},
		{"no such blob", ref, blobs(http.StatusNotFound), []string{"CannotPullContainerError: "}},
		{"broken blobs", ref, blobs(http.StatusInternalServerError), []string{"CannotPullContainerError: ", "500 Internal Server Error"}},
		{"false blobs", ref, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				io.WriteString(w, "something else")
				return true
			}
			return false
		}, []string{"CannotPullContainerError: "}},
		{"another platform", reg.host + "/foreign:1", nil, []string{"CannotPullContainerError: Error response from daemon: no matching manifest for linux/amd64 in the manifest list entries"}},
		{"no reference", "Not A Reference", nil, []string{"CannotPullContainerError: ", "invalid reference format"}},
	} {
		reg.fail(test.fault)
		r := n.do(oneTask(test.image), lifecycle.Pull, "c")
		for _, want := range test.want {
			if !strings.Contains(r.Reason, want) {
				t.Errorf("%s: %q is not in %q", test.name, want, r.Reason)
			}
		}
		if r.StartedAt.IsZero() || r.FinishedAt.IsZero() {
			t.Errorf("%s: from %v to %v", test.name, r.StartedAt, r.FinishedAt)
		}
	}
	if list, err := n.Images().ListImages(within(t)); err != nil || len(list) > 0 {
		t.Errorf("failed pulls left images: %v, %v", list, err)
	}
}

func TestACancelledPullLeavesNothingToSee(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	ref, _ := reg.push("web:1", busybox(t, nil))
	ctx, cancel := context.WithCancel(context.Background())
	manifests := 0
	reg.fail(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			manifests++
			return false
		}
		cancel() // in the middle of it
		<-r.Context().Done()
		return true
	})
	r := n.Perform(ctx, oneTask(ref), lifecycle.Effect{Verb: lifecycle.Pull, Container: "c"})
	if !r.Canceled || r.Reason != "" || manifests == 0 {
		t.Errorf("%+v after %d manifests", r, manifests)
	}
	if list, err := n.Images().ListImages(within(t)); err != nil || len(list) > 0 {
		t.Errorf("it left images: %v, %v", list, err)
	}
	reg.fail(nil)
	n.must(oneTask(ref), lifecycle.Pull, "c")
}

func TestADiskThatIsFullDuringAPull(t *testing.T) {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("cannot make a small disk: %v", err)
	}
	n := makeNode(t)
	n.config.DataDir = filepath.Join(small, "data")
	n.open()
	t.Cleanup(func() {
		n.destroy()
		unix.Unmount(small, unix.MNT_DETACH)
	})
	reg := newRegistry(t)
	ref, _ := reg.push("web:1", busybox(t, nil))
	r := n.do(oneTask(ref), lifecycle.Pull, "c")
	if want := "CannotPullContainerError: Error response from daemon: failed to register layer: no space left on device Cause: the node's disk is full (disk-full)"; r.Reason != want {
		t.Errorf("reason %q", r.Reason)
	}
	if list, err := n.Images().ListImages(within(t)); err != nil || len(list) > 0 {
		t.Errorf("it left images: %v, %v", list, err)
	}
}

// Many tasks of one image ask at the same time.
func TestConcurrentPulls(t *testing.T) {
	n, reg := newNode(t), newRegistry(t)
	ref, _ := reg.push("web:1", busybox(t, nil))
	blobs := make(map[string]int)
	reg.fail(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			reg.mu.Lock()
			blobs[r.URL.Path]++
			reg.mu.Unlock()
		}
		return false
	})
	tasks := make([]*protocol.Task, 8)
	for i := range tasks {
		tasks[i] = oneTask(ref)
	}
	var all sync.WaitGroup
	for _, task := range tasks {
		all.Go(func() {
			if r := n.do(task, lifecycle.Pull, "c"); r.Reason != "" {
				t.Error(r.Reason)
			}
		})
	}
	all.Wait()
	for path, times := range blobs {
		if times != 1 {
			t.Errorf("%s was fetched %d times", path, times)
		}
	}
}

func TestOnThisMachine(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:5000": true, "127.1.2.3": true, "[::1]:5000": true, "localhost": true, "localhost:5000": true,
		"000000000000.dkr.ecr.us-east-1.localhost:4566": true,
		"registry.example.com":                          false, "10.0.0.1:5000": false, "docker.io": false, "localhost.example.com": false,
	} {
		if got := onThisMachine(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
