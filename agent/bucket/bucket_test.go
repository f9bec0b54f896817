package bucket

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAnObjectIsAFileInTheBucketsFolder(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "bucket")
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(folder, "a", "b"), 0o755))
	must(os.WriteFile(filepath.Join(folder, "a", "b", "web.env"), []byte("X=1\n"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "secret.env"), []byte("S=1\n"), 0o600))
	must(os.Symlink("a/b/web.env", filepath.Join(folder, "inside.env")))
	must(os.Symlink("../secret.env", filepath.Join(folder, "outside.env")))
	must(os.Symlink("/etc", filepath.Join(folder, "etc")))
	must(unix.Mkfifo(filepath.Join(folder, "pipe.env"), 0o600))
	buckets := Folders{"shop": folder}
	must(buckets.Check())
	for arn, want := range map[string]string{
		"arn:aws:s3:::shop/a/b/web.env":        "",
		"arn:aws-cn:s3:::shop/inside.env":      "",
		"arn:aws:s3:::shop/outside.env":        "escapes",
		"arn:aws:s3:::shop/etc/passwd":         "escapes",
		"arn:aws:s3:::shop/../secret.env":      "leads out of the bucket shop",
		"arn:aws:s3:::shop/a/../../secret.env": "leads out of the bucket shop",
		"arn:aws:s3:::shop//etc/passwd":        "leads out of the bucket shop",
		"arn:aws:s3:::shop/none.env":           "no such file",
		"arn:aws:s3:::shop/a":                  "it is no file",
		"arn:aws:s3:::shop/pipe.env":           "it is no file",
		"arn:aws:s3:::other/web.env":           "start its Havn with --bucket other=/FOLDER",
		"arn:aws:s3:::shop":                    "names no object",
		"arn:aws:sqs:::shop/web.env":           "is not the ARN of an object",
		"s3://shop/web.env":                    "is not the ARN of an object",
	} {
		data, err := buckets.Read(arn, 4)
		switch {
		case want == "" && (err != nil || string(data) != "X=1\n"):
			t.Errorf("%s: %q, %v", arn, data, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %q, %v; want %q", arn, data, err, want)
		}
	}
	if _, err := buckets.Read("arn:aws:s3:::shop/a/b/web.env", 3); err == nil || !strings.Contains(err.Error(), "larger than 3 bytes") {
		t.Errorf("too large: %v", err)
	}
	if err := (Folders{"gone": filepath.Join(dir, "gone")}).Check(); err == nil {
		t.Error("a folder that is not there was taken")
	}
}

func TestParseFolder(t *testing.T) {
	if name, dir, err := ParseFolder("my.shop-1=/srv/shop/"); name != "my.shop-1" || dir != "/srv/shop" || err != nil {
		t.Errorf("%q %q %v", name, dir, err)
	}
	for _, text := range []string{"", "shop", "shop=", "shop=relative", "=/srv", "Shop=/srv", "a=/srv"} {
		if _, _, err := ParseFolder(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got, err := Environment([]byte("# a comment\nA=1\r\n\nB=two words\nC=\"quoted\"\n D = x\nnothing\n=value\nEMPTY=\n#E=5\nA=last\nF=a=b\nG=no end"))
	want := map[string]string{"A": "last", "B": "two words", "C": `"quoted"`, " D ": " x", "F": "a=b", "G": "no end"}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for text, want := range map[string]string{
		"A=1\nB=\x00\n": "line 2 contains a NUL",
		"A=" + strings.Repeat("x", maxVariable-1): "line 1 has 131072 bytes, and may have 131071",
	} {
		if _, err := Environment([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func FuzzEnvironment(f *testing.F) {
	f.Add([]byte("# x\nA=1\nB=\r\n=\n\x00=\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		variables, err := Environment(file)
		if err != nil {
			return
		}
		var again strings.Builder
		for name, value := range variables {
			if name == "" || value == "" || strings.ContainsAny(name, "=\n\x00") || strings.ContainsAny(value, "\n\x00") || name[0] == '#' {
				t.Fatalf("%q=%q", name, value)
			}
			again.WriteString(name + "=" + value + "\r\n")
		}
		if same, err := Environment([]byte(again.String())); err != nil || !maps.Equal(same, variables) {
			t.Fatalf("%q is read back as %q, %v", variables, same, err)
		}
	})
}

func FuzzParseARN(f *testing.F) {
	f.Add("arn:aws:s3:::shop/a.env")
	f.Fuzz(func(t *testing.T, arn string) {
		bucket, key, err := ParseARN(arn)
		if err == nil && !strings.HasSuffix(arn, ":s3:::"+bucket+"/"+key) {
			t.Fatalf("%q: %q %q", arn, bucket, key)
		}
	})
}
