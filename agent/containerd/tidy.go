package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

// When room is scarce, images that nobody uses go, the one that was used longest ago first. When there is next to none,
// the node takes no more tasks: who runs already needs what is left.
const (
	scarceShare, scarceMost = 10, 4 << 30   // a tenth of the disk, but at most 4 GiB
	fullShare, fullMost     = 40, 256 << 20 // a fortieth, but at most 256 MiB
	// spared is how long an image stays after its last use even when room is scarce: a task that is replaced needs it
	// again at once.
	spared = time.Minute
)

// DefaultImageMaxAge is how long an image that no container uses is kept, where Config does not say. ECS's agent keeps
// one for an hour; a pull is most of what a start takes, so Havn keeps it longer.
const DefaultImageMaxAge = 7 * 24 * time.Hour

// labelUsed is when the last container of an image was removed, in RFC 3339. To write it also makes the image's time of
// update anew, which is what counts: a pull sets that as well.
const labelUsed = "havn.used"

// Disk is the disk that images, containers and logs are on, in bytes.
type Disk struct {
	Size, Free int64
}

// Scarce reports whether room should be made.
func (d Disk) Scarce() bool { return d.Free < min(d.Size/scarceShare, scarceMost) }

// Full reports whether nothing should be begun that needs room.
func (d Disk) Full() bool { return d.Free < min(d.Size/fullShare, fullMost) }

// Disk looks at the disk.
func (r *Runtime) Disk() (Disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(r.dataDir, &fs); err != nil {
		return Disk{}, fmt.Errorf("cannot see how much room is left: %w", err)
	}
	return Disk{Size: int64(fs.Blocks) * fs.Bsize, Free: int64(fs.Bavail) * fs.Bsize}, nil
}

// keptImage is what must be known of an image to say whether it may go.
type keptImage struct {
	name  string
	used  time.Time // last
	inUse bool
	// loaded: out of an archive, so that nobody could bring it back.
	loaded bool
}

// expendable are the images that may go, the one that was used longest ago first: those that are too old, and all that
// nobody uses if room is scarce.
func expendable(all []keptImage, scarce bool, maxAge time.Duration, now time.Time) []string {
	age := maxAge
	if scarce {
		age = min(age, spared)
	}
	may := slices.DeleteFunc(slices.Clone(all), func(i keptImage) bool {
		return i.inUse || i.loaded || now.Sub(i.used) < age
	})
	slices.SortStableFunc(may, func(a, b keptImage) int { return a.used.Compare(b.used) })
	var names []string
	for _, i := range may {
		names = append(names, i.name)
	}
	return names
}

// Housekeep makes room as far as that is due; see agent.Housekeeper.
func (r *Runtime) Housekeep(ctx context.Context, now time.Time) (full bool, err error) {
	removed, err := r.Tidy(ctx, now)
	if len(removed) > 0 {
		r.log.Info("removed images that no container uses", "images", removed)
	}
	if err != nil {
		return false, err
	}
	disk, err := r.Disk()
	return disk.Full(), err
}

// Tidy removes images that may go and returns their names. While room is scarce it stops as soon as it is not.
func (r *Runtime) Tidy(ctx context.Context, now time.Time) (removed []string, err error) {
	disk, err := r.Disk()
	if err != nil {
		return nil, err
	}
	all, err := r.keptImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot see which images are used: %w", err)
	}
	old := expendable(all, false, r.imageMaxAge, now)
	for _, name := range expendable(all, disk.Scarce(), r.imageMaxAge, now) {
		if !slices.Contains(old, name) && !disk.Scarce() {
			break
		}
		gone, err := r.dropImage(ctx, name)
		if err != nil {
			return removed, fmt.Errorf("cannot remove the image %s: %w", name, err)
		}
		if gone {
			removed = append(removed, name)
		}
		if disk, err = r.Disk(); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (r *Runtime) keptImages(ctx context.Context) ([]keptImage, error) {
	list, err := r.imageStore.List(ctx)
	if err != nil {
		return nil, err
	}
	inUse, err := r.imagesInUse()
	if err != nil {
		return nil, err
	}
	var all []keptImage
	for _, i := range list {
		all = append(all, keptImage{name: i.Name, used: i.UpdatedAt, inUse: inUse[i.Name], loaded: i.Labels[labelLoaded] != ""})
	}
	return all, nil
}

// dropImage removes an image, unless a container has begun to use it.
func (r *Runtime) dropImage(ctx context.Context, name string) (gone bool, err error) {
	done, err := r.pulls.lock(ctx, name)
	if err != nil {
		return false, err
	}
	defer done()
	inUse, err := r.imagesInUse()
	if err != nil || inUse[name] {
		return false, err
	}
	err = r.imageStore.Delete(ctx, name, images.SynchronousDelete())
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// From before its pull until it is removed, a container's folder names its image: as long as the name stands there,
// the image stays.
func imageMark(dir string) string { return filepath.Join(dir, "image") }

func (r *Runtime) markImage(taskARN, container, name string) error {
	dir := r.containerDir(taskARN, container)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return os.WriteFile(imageMark(dir), []byte(name), 0o600)
}

// imageUsed notes when the image of a container that is being removed was last used.
func (r *Runtime) imageUsed(ctx context.Context, taskARN, container string, now time.Time) error {
	name, err := os.ReadFile(imageMark(r.containerDir(taskARN, container)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	image := images.Image{Name: string(name), Labels: map[string]string{labelUsed: now.UTC().Format(time.RFC3339)}}
	if _, err := r.imageStore.Update(ctx, image, "labels."+labelUsed); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

// imagesInUse are the names of images that a container uses, or is about to.
func (r *Runtime) imagesInUse() (map[string]bool, error) {
	inUse := make(map[string]bool)
	// Not by a pattern: the data folder's path is the operator's, and may have characters that mean something in one.
	tasks := filepath.Join(r.dataDir, "tasks")
	err := eachName(tasks, func(task string) error {
		containers := filepath.Join(tasks, task, "containers")
		return eachName(containers, func(container string) error {
			name, err := os.ReadFile(imageMark(filepath.Join(containers, container)))
			if errors.Is(err, fs.ErrNotExist) { // not marked yet, or just removed
				return nil
			}
			inUse[string(name)] = true
			return err
		})
	})
	return inUse, err
}

// eachName does something with the name of each entry of a folder, which need not be there.
func eachName(dir string, do func(name string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	for _, e := range entries {
		if err := do(e.Name()); err != nil {
			return err
		}
	}
	return nil
}
