// Command pack puts one static binary into an image archive, as `docker save` would write it:
//
//	go run ./examples/pack -name havn/example-web:latest -port 80 -o web.tar .tmp/web
//
// The example needs no base image and so no network.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"havn/testimage"
)

func main() {
	ref := flag.String("name", "", "image name and tag")
	port := flag.String("port", "", "port that the image exposes")
	out := flag.String("o", "", "archive to write")
	flag.Parse()
	if *ref == "" || *out == "" || flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := pack(*out, *ref, *port, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out, ref, port, binary string) error {
	entry := "/" + filepath.Base(binary)
	spec := testimage.Spec{
		Files:  map[string]string{entry: binary},
		Config: v1.Config{Entrypoint: []string{entry}},
	}
	if port != "" {
		spec.Config.ExposedPorts = map[string]struct{}{port + "/tcp": {}}
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := testimage.WriteArchive(f, ref, spec); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
