package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/containerd/v2/pkg/archive/compression"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// LoadArchive takes the images out of an archive of docker save or of the OCI layout, also a compressed one. All of
// them become present, or none.
func (s *Images) LoadArchive(ctx context.Context, from io.Reader) ([]Image, error) {
	loaded, err := s.load(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("cannot load the archive: %w", err)
	}
	var list []Image
	for _, img := range loaded {
		list = append(list, s.describe(ctx, img))
	}
	return list, nil
}

func (s *Images) load(ctx context.Context, from io.Reader) (_ []images.Image, err error) {
	disk, err := s.diskOf(ctx)
	if err != nil {
		return nil, err
	}
	if left, err := room(disk); err != nil {
		return nil, err
	} else if left < 0 {
		return nil, errFull
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer func() {
		if err != nil && errors.Is(context.Cause(ctx), errFull) {
			err = errFull
		}
	}()
	go watchRoom(ctx, disk, cancel)
	// Until the images have names, the lease holds their content; afterwards, or after an error, the rest is garbage.
	ctx, done, err := s.client.WithLease(ctx)
	if err != nil {
		return nil, err
	}
	defer done(context.WithoutCancel(ctx))
	plain, err := compression.DecompressStream(from)
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	store := s.client.ContentStore()
	index, err := archive.ImportIndex(ctx, store, plain)
	if err != nil {
		s.abandon(ctx)
		return nil, fmt.Errorf("this is no archive of docker save or of the OCI image layout, or a damaged one: %w", err)
	}
	found, err := imagesOf(ctx, store, index)
	if err != nil {
		return nil, err
	}
	for _, img := range found {
		if err := s.complete(ctx, img); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for i, img := range found { // all of them
		if found[i], err = s.put(context.WithoutCancel(ctx), img); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// diskOf returns a folder on the disk that images are written to, as the engine tells it.
func (s *Images) diskOf(ctx context.Context) (string, error) {
	if s.disk != "" {
		return s.disk, nil
	}
	found, err := s.client.IntrospectionService().Plugins(ctx, "type=="+plugins.SnapshotPlugin.String(), "id=="+snapshotter)
	if err != nil {
		return "", fmt.Errorf("cannot ask the engine where its images are: %w", err)
	}
	for _, p := range found.Plugins {
		if dir := p.Exports[plugins.SnapshotterRootDir]; dir != "" && p.ID == snapshotter {
			return dir, nil
		}
	}
	return "", errors.New("the engine does not tell where its images are")
}

// abandon gives up what was half-written. The next archive would go on from there, if a file of it had the same name.
func (s *Images) abandon(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	statuses, err := s.client.ContentStore().ListStatuses(ctx)
	if err != nil {
		return
	}
	for _, half := range statuses {
		if strings.HasPrefix(half.Ref, "tar-") { // containerd's name for files of archives
			s.client.ContentStore().Abort(ctx, half.Ref)
		}
	}
}

// imagesOf finds the names in the archive and what they lead to.
func imagesOf(ctx context.Context, store content.Store, index ocispec.Descriptor) ([]images.Image, error) {
	children, err := images.Children(ctx, store, index)
	if err != nil {
		return nil, err
	}
	var found []images.Image
	for _, m := range children {
		given := firstOf(m.Annotations[images.AnnotationImageName], m.Annotations[ocispec.AnnotationRefName])
		switch {
		case given == "":
			continue // a docker archive may also hold images by ID alone
		case m.Annotations[images.AnnotationImageName] == "" && !strings.ContainsAny(given, ":/"):
			return nil, fmt.Errorf("the archive has an image tagged %q but does not say its name", given)
		}
		name, err := canonical(given)
		if err != nil {
			return nil, err
		}
		found = append(found, images.Image{Name: name, Target: m, Labels: map[string]string{labelLoaded: "true"}})
	}
	if len(found) == 0 {
		return nil, errors.New("no image in it has a name")
	}
	return found, nil
}

// complete makes sure that the image can be run here, before anyone sees it.
func (s *Images) complete(ctx context.Context, img images.Image) error {
	store := s.client.ContentStore()
	available, _, _, missing, err := images.Check(ctx, store, img.Target, platforms.Default())
	if err != nil {
		return fmt.Errorf("cannot read the image %s: %w", familiar(img.Name), err)
	}
	if !available {
		return fmt.Errorf("the image %s is not for %s", familiar(img.Name), platforms.DefaultString())
	}
	if len(missing) > 0 {
		return fmt.Errorf("the image %s is not whole: %d of its parts are not in the archive",
			familiar(img.Name), len(missing))
	}
	config, err := readConfig(ctx, store, img.Target)
	if err != nil {
		return fmt.Errorf("cannot read the image %s: %w", familiar(img.Name), err)
	}
	if config.Architecture != "" && !platforms.Default().Match(config.Platform) {
		return fmt.Errorf("the image %s is for %s, not for %s",
			familiar(img.Name), platforms.Format(config.Platform), platforms.DefaultString())
	}
	// What is garbage and what is not follows from labels on the content.
	children := images.FilterPlatforms(images.ChildrenHandler(store), platforms.Default())
	handler := images.SetChildrenMappedLabels(store, children, images.ChildGCLabels)
	if err := images.Walk(ctx, handler, img.Target); err != nil {
		return err
	}
	if err := client.NewImageWithPlatform(s.client, img, platforms.Default()).Unpack(ctx, snapshotter); err != nil {
		return fmt.Errorf("cannot unpack the image %s: %w", familiar(img.Name), err)
	}
	return nil
}

func (s *Images) put(ctx context.Context, img images.Image) (images.Image, error) {
	updated, err := s.store.Update(ctx, img)
	if errdefs.IsNotFound(err) {
		return s.store.Create(ctx, img)
	}
	return updated, err
}
