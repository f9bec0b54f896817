package volume

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/continuity/fs"
)

// whatIsOverlays are notes that overlayfs keeps on a layer's files for itself.
var whatIsOverlays = fs.WithXAttrExclude("trusted.overlay.opaque", "trusted.overlay.origin", "trusted.overlay.impure",
	"trusted.overlay.nlink", "trusted.overlay.redirect", "trusted.overlay.metacopy")

// Empty tells whether Fill would fill the place.
func (p Place) Empty() (bool, error) {
	if !p.Fresh {
		return false, nil
	}
	if p.half() {
		return true, nil
	}
	entries, err := os.ReadDir(p.Path)
	return len(entries) == 0, err
}

// half: somebody was killed while he filled it, or could not go on, or is filling it now if the volume is not locked.
func (p Place) half() bool {
	if p.mark == "" {
		return false
	}
	_, err := os.Stat(p.mark)
	return err == nil
}

// halfError: nobody is to run on a part of the files without a word.
func (p Place) halfError() error {
	return fmt.Errorf("the volume was filled from the image by half, as Havn was killed or the copy failed: what is in it may be somebody's, "+
		"so it is not filled anew; empty it and delete %s", p.mark)
}

// Fill copies a folder of an image into an empty fresh place, with the folder's own owner and mode, as Docker does. What
// was filled by half is filled anew; but what may be somebody else's is not ours to empty, and that is an error.
func (s *Store) Fill(p Place, from string) error {
	if !p.Fresh {
		return nil
	}
	s.locks.Lock(p.volume)
	defer s.locks.Unlock(p.volume) //nolint:errcheck // fails only where it is not locked
	empty, err := p.Empty()
	if err != nil || !empty {
		return err
	}
	if p.half() && !p.ours {
		return p.halfError()
	}
	if info, err := os.Stat(from); err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	if p.half() {
		if err := p.clear(); err != nil {
			return err
		}
	}
	if err := os.WriteFile(p.mark, nil, 0o600); err != nil {
		return err
	}
	if err := fs.CopyDir(p.Path, from, whatIsOverlays); err != nil {
		return fmt.Errorf("cannot copy what the image has there into the volume: %w", err)
	}
	return os.Remove(p.mark)
}

func (p Place) clear() error {
	names, err := readNames(p.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := os.RemoveAll(filepath.Join(p.Path, name)); err != nil {
			return err
		}
	}
	return nil
}
