package main

import (
	"bytes"
	"os"
	"testing"
)

func TestTheCookieKeyIsMadeOnceAndNobodyElsesToRead(t *testing.T) {
	h := home{dir: t.TempDir()}
	made, err := h.cookieKey()
	if err != nil || len(made) != 32 {
		t.Fatalf("%d bytes, %v", len(made), err)
	}
	if again, err := h.cookieKey(); err != nil || !bytes.Equal(again, made) {
		t.Errorf("after a restart it is another: %v", err)
	}
	if other, err := (home{dir: t.TempDir()}).cookieKey(); err != nil || bytes.Equal(other, made) {
		t.Errorf("two Havns have the same: %v", err)
	}
	info, err := os.Stat(h.path("cookie-key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
