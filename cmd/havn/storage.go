package main

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"havn/agent/bucket"
	"havn/agent/volume"
)

// storageFlags say what stands on this machine for the storage of AWS that task definitions name.
type storageFlags struct{ efs, buckets []string }

func (s *storageFlags) addTo(f *pflag.FlagSet) {
	// Arrays, not slices: a comma is a part of the value.
	f.StringArrayVar(&s.efs, "efs", nil, "what stands for an EFS file system or access point: fs-1234=HOST:/EXPORT[,OPTION...] (NFS) or fs-1234=/FOLDER; can be given again")
	f.StringArrayVar(&s.buckets, "bucket", nil, "the folder that stands for an S3 bucket, for environment files: NAME=/FOLDER; can be given again")
}

// storage is what the flags say.
type storage struct {
	fileSystems volume.FileSystems
	buckets     bucket.Folders
}

func (s storageFlags) parse() (storage, error) {
	out := storage{volume.FileSystems{}, bucket.Folders{}}
	for _, text := range s.efs {
		id, export, err := volume.ParseFileSystem(text)
		if err != nil {
			return out, fmt.Errorf("--efs: %w", err)
		}
		if _, twice := out.fileSystems[id]; twice {
			return out, fmt.Errorf("--efs: %s is given twice", id)
		}
		out.fileSystems[id] = export
	}
	for _, text := range s.buckets {
		name, folder, err := bucket.ParseFolder(text)
		if err != nil {
			return out, fmt.Errorf("--bucket: %w", err)
		}
		if _, twice := out.buckets[name]; twice {
			return out, fmt.Errorf("--bucket: %s is given twice", name)
		}
		out.buckets[name] = folder
	}
	return out, errors.Join(out.fileSystems.Check(), out.buckets.Check())
}
