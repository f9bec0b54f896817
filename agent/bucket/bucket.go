// Package bucket stands in for S3 on a node: a bucket is a folder that the operator names, and an object is a file in
// it. Task definitions name objects by their ARNs, and nothing else of S3 is needed to run them.
package bucket

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"
)

// Folders are the folders that stand for buckets, by the bucket's name.
type Folders map[string]string

// Amazon S3 User Guide, "General purpose bucket naming rules".
var bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// ParseFolder reads NAME=/FOLDER.
func ParseFolder(text string) (name, folder string, err error) {
	name, folder, _ = strings.Cut(text, "=")
	if !bucketName.MatchString(name) || !filepath.IsAbs(folder) {
		return "", "", fmt.Errorf("%q is not NAME=/FOLDER, with the name of an S3 bucket", text)
	}
	return name, filepath.Clean(folder), nil
}

// Check finds folders that are not there, before any task does.
func (f Folders) Check() error {
	for name, folder := range f {
		if info, err := os.Stat(folder); err != nil {
			return fmt.Errorf("cannot use the folder for bucket %s: %w", name, err)
		} else if !info.IsDir() {
			return fmt.Errorf("%s, for bucket %s, is no folder", folder, name)
		}
	}
	return nil
}

// ParseARN splits arn:PARTITION:s3:::BUCKET/KEY.
func ParseARN(arn string) (bucket, key string, err error) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] != "s3" || parts[3] != "" || parts[4] != "" {
		return "", "", fmt.Errorf("%q is not the ARN of an object in S3, arn:aws:s3:::BUCKET/KEY", arn)
	}
	bucket, key, _ = strings.Cut(parts[5], "/")
	if bucket == "" || key == "" {
		return "", "", fmt.Errorf("%q names no object in a bucket", arn)
	}
	return bucket, key, nil
}

// Read returns the object of that ARN, of limit bytes at most. No key and no link leads out of the bucket's folder.
func (f Folders) Read(arn string, limit int64) ([]byte, error) {
	name, key, err := ParseARN(arn)
	if err != nil {
		return nil, err
	}
	folder, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("no folder stands for the bucket %s on this node; start its Havn with --bucket %s=/FOLDER", name, name)
	}
	if !filepath.IsLocal(key) {
		return nil, fmt.Errorf("the key %q leads out of the bucket %s", key, name)
	}
	data, err := read(folder, key, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s from bucket %s: %w", key, name, err)
	}
	return data, nil
}

func read(folder, key string, limit int64) ([]byte, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	// A pipe would otherwise be waited for.
	file, err := root.OpenFile(key, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("it is larger than %d bytes", limit)
	}
	return data, err
}
