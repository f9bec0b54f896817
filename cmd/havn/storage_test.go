package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestStorageFlags(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ args, want string }{
		{"--efs=fs-1=nas:/vol,xprtsec=tls --efs=fsap-2=DIR --bucket=shop=DIR", ""},
		{"--efs=fs-1", "--efs: "},
		{"--efs=fs-1=/nonexistent", "cannot use the folder for fs-1"},
		{"--efs=fs-1=DIR --efs=fs-1=nas:/", "fs-1 is given twice"},
		{"--bucket=shop", "--bucket: "},
		{"--bucket=shop=/nonexistent", "cannot use the folder for bucket shop"},
		{"--bucket=shop=DIR --bucket=shop=DIR", "shop is given twice"},
	} {
		var s storageFlags
		cmd := &cobra.Command{}
		s.addTo(cmd.Flags())
		args := strings.Fields(strings.ReplaceAll(test.args, "DIR", dir))
		if err := cmd.ParseFlags(args); err != nil {
			t.Fatal(err)
		}
		// What `up --detach` passes on is what was given, commas and all.
		if given := givenFlags(cmd); len(given) != len(args) || !slices.ContainsFunc(given, func(g string) bool { return g == args[0] }) {
			t.Errorf("%v is passed on as %v", args, given)
		}
		out, err := s.parse()
		if test.want == "" {
			if err != nil || len(out.fileSystems) != 2 || out.fileSystems["fs-1"].Options[0] != "xprtsec=tls" || out.buckets["shop"] != dir {
				t.Errorf("%s: %+v, %v", test.args, out, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", test.args, err)
		}
	}
}
