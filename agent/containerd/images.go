package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// labelLoaded marks an image that came out of an archive: no registry is asked about it.
const labelLoaded = "havn.loaded"

// Images are the images of one engine. It is also what another process on the machine uses, by Dial.
type Images struct {
	client *client.Client
	store  images.Store
	disk   string // a folder on the disk that a pull must not fill; empty if unknown

	mu    sync.Mutex
	known map[digest.Digest]*image // by what the image's name leads to; content never changes
}

// Image is what the user sees of an image.
type Image struct {
	Name    string
	Digest  string
	Size    int64 // of its content, compressed as it came
	Created time.Time
	Loaded  bool // out of an archive
}

// image is what a container is made of.
type image struct {
	name   string
	target ocispec.Descriptor
	config ocispec.Image
	loaded bool

	insides *insides
}

// insides is what must be known of the files in an image. It is looked at once, when first needed.
type insides struct {
	mu            sync.Mutex
	seen          bool
	passwd, group []byte
	unreadable    error // why they could not be read
	// thirtyTwoBit: it has a loader for 32-bit programs.
	thirtyTwoBit bool
}

func newImages(c *client.Client) *Images {
	return &Images{client: c, store: c.ImageService(), known: make(map[digest.Digest]*image)}
}

// Dial connects to the engine that listens on the socket; see SocketPath.
func Dial(socket string) (*Images, error) {
	if _, err := os.Stat(socket); err != nil {
		return nil, fmt.Errorf("cannot find a running Havn's containerd: %w", err)
	}
	c, err := dial(socket)
	if err != nil {
		return nil, err
	}
	return newImages(c), nil
}

// Close closes the connection of Dial.
func (s *Images) Close() error { return s.client.Close() }

// ListImages lists the images by name.
func (s *Images) ListImages(ctx context.Context) ([]Image, error) {
	all, err := s.store.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list the images: %w", err)
	}
	list := make([]Image, 0, len(all))
	for _, img := range all {
		list = append(list, s.describe(ctx, img))
	}
	slices.SortFunc(list, func(a, b Image) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (s *Images) describe(ctx context.Context, img images.Image) Image {
	d := Image{Name: familiar(img.Name), Digest: img.Target.Digest.String(), Created: img.CreatedAt,
		Loaded: img.Labels[labelLoaded] != ""}
	if size, err := img.Size(ctx, s.client.ContentStore(), platforms.Default()); err == nil {
		d.Size = size
	}
	if info, err := s.info(ctx, img); err == nil && info.config.Created != nil {
		d.Created = *info.config.Created
	}
	return d
}

// canonical is a reference in full: busybox is docker.io/library/busybox:latest.
func canonical(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", fmt.Errorf("invalid reference format: %q: %w", ref, err)
	}
	return named.String(), nil
}

func familiar(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(named)
}

// get returns the image that is present by that reference, or an error that errdefs.IsNotFound knows.
func (s *Images) get(ctx context.Context, ref string) (*image, error) {
	name, err := canonical(ref)
	if err != nil {
		return nil, err
	}
	img, err := s.store.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.info(ctx, img)
}

// getByDigest gives an image that is present the name name@digest too, if one of that digest is present under another
// of the repository's names: a tag's, that it was pulled by. It returns nil if there is none.
func (s *Images) getByDigest(ctx context.Context, name string) (*image, error) {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return nil, err
	}
	pinned, ok := named.(reference.Digested)
	if !ok {
		return nil, nil
	}
	same, err := s.store.List(ctx, "target.digest=="+pinned.Digest().String())
	if err != nil {
		return nil, fmt.Errorf("cannot look for the image %s: %w", name, err)
	}
	for _, img := range same {
		other, err := reference.ParseDockerRef(img.Name)
		if err != nil || other.Name() != named.Name() || img.Labels[labelLoaded] != "" {
			continue
		}
		made, err := s.store.Create(ctx, images.Image{Name: name, Target: img.Target})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return nil, fmt.Errorf("cannot name the image %s: %w", name, err)
		}
		if err != nil {
			return s.get(ctx, name)
		}
		return s.info(ctx, made)
	}
	return nil, nil
}

func (s *Images) info(ctx context.Context, img images.Image) (*image, error) {
	s.mu.Lock()
	info, ok := s.known[img.Target.Digest]
	s.mu.Unlock()
	if !ok {
		config, err := readConfig(ctx, s.client.ContentStore(), img.Target)
		if err != nil {
			return nil, fmt.Errorf("cannot read the image %s: %w", img.Name, err)
		}
		info = &image{target: img.Target, config: config, insides: new(insides)}
		s.mu.Lock()
		s.known[img.Target.Digest] = info
		s.mu.Unlock()
	}
	named := *info
	named.name, named.loaded = img.Name, img.Labels[labelLoaded] != ""
	return &named, nil
}

func readConfig(ctx context.Context, store content.Store, target ocispec.Descriptor) (ocispec.Image, error) {
	var config ocispec.Image
	manifest, err := images.Manifest(ctx, store, target, platforms.Default())
	if err != nil {
		return config, err
	}
	data, err := content.ReadBlob(ctx, store, manifest.Config)
	if err != nil {
		return config, err
	}
	return config, json.Unmarshal(data, &config)
}

// digest is the one that the registry knows the image by; empty for one out of an archive.
func (i *image) digest() string {
	if i.loaded {
		return ""
	}
	return i.target.Digest.String()
}

func (i *image) chainID() string { return identity.ChainID(i.config.RootFS.DiffIDs).String() }

// unpacked tells whether the image's layers are there as snapshots.
func (s *Images) unpacked(ctx context.Context, i *image) (bool, error) {
	if len(i.config.RootFS.DiffIDs) == 0 {
		return true, nil
	}
	_, err := s.client.SnapshotService(snapshotter).Stat(ctx, i.chainID())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

func (s *Images) unpack(ctx context.Context, i *image) error {
	img := client.NewImageWithPlatform(s.client, images.Image{Name: i.name, Target: i.target}, platforms.Default())
	if err := img.Unpack(ctx, snapshotter); err != nil {
		return fmt.Errorf("cannot unpack the image %s: %w", i.name, err)
	}
	return nil
}

// lookInto returns what must be known of the image's files.
func (s *Images) lookInto(ctx context.Context, i *image) (*insides, error) {
	in := i.insides
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.seen && len(i.config.RootFS.DiffIDs) > 0 {
		if err := s.view(ctx, i, in.look); err != nil {
			return nil, fmt.Errorf("cannot look into the image %s: %w", i.name, err)
		}
	}
	in.seen = true
	return in, nil
}

func (in *insides) look(layers []string) {
	var err1, err2 error
	in.passwd, err1 = readInLayers(layers, "etc/passwd")
	in.group, err2 = readInLayers(layers, "etc/group")
	in.unreadable = errors.Join(err1, err2) // which is nothing to those who name no user
	for _, loader := range []string{"lib/ld-linux.so.2", "usr/lib/ld-linux.so.2", "lib/ld-musl-i386.so.1"} {
		if path, err := findInLayers(layers, loader); err == nil && path != "" {
			in.thirtyTwoBit = true
		}
	}
}

// view calls look with the folders of the image's layers, the uppermost first. Nothing is mounted, so nothing can stay
// mounted.
func (s *Images) view(ctx context.Context, i *image, look func(layers []string)) error {
	ctx, done, err := s.client.WithLease(ctx)
	if err != nil {
		return err
	}
	defer done(context.WithoutCancel(ctx))
	key := fmt.Sprintf("%s%s-%d", viewPrefix, i.target.Digest.Encoded(), time.Now().UnixNano())
	sn := s.client.SnapshotService(snapshotter)
	// Not cancelled: the engine would go on with it, and nobody would remove what it has made.
	mounts, err := sn.View(context.WithoutCancel(ctx), key, i.chainID())
	if err != nil {
		return err
	}
	defer sn.Remove(context.WithoutCancel(ctx), key)
	look(layersOf(mounts))
	return nil
}

const viewPrefix = "havn-view-"

// dropViews removes the views that a killed process left, and has containerd clear away the layers of which it had
// written down that they are removed, when it was killed before it had removed them: it looks for such only once it
// has something to remove. So it is given something.
func (s *Images) dropViews(ctx context.Context) error {
	sn := s.client.SnapshotService(snapshotter)
	if _, err := sn.View(ctx, viewPrefix+"of-nothing", ""); err != nil && !errdefs.IsAlreadyExists(err) {
		return fmt.Errorf("cannot make a view of nothing: %w", err)
	}
	var views []string
	err := sn.Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if strings.HasPrefix(i.Name, viewPrefix) {
			views = append(views, i.Name)
		}
		return nil
	})
	for _, v := range views {
		if gone := sn.Remove(ctx, v); !errdefs.IsNotFound(gone) { // nobody holds it, so it may have gone by itself
			err = errors.Join(err, gone)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot remove old views of images: %w", err)
	}
	return nil
}

func layersOf(mounts []mount.Mount) []string {
	var layers []string
	for _, m := range mounts {
		if m.Type == "bind" {
			layers = append(layers, m.Source)
		}
		for _, o := range m.Options {
			if lower, ok := strings.CutPrefix(o, "lowerdir="); ok {
				layers = append(layers, strings.Split(lower, ":")...)
			}
		}
	}
	return layers
}
