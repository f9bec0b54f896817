package logging

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"havn/agent/logging/jsonfile"
)

// fields reads a journal entry.
func fields(entry []byte) map[string]string {
	all := map[string]string{}
	for len(entry) > 0 {
		name, rest, _ := bytes.Cut(entry, []byte("\n"))
		size := binary.LittleEndian.Uint64(rest)
		all[string(name)] = string(rest[8 : 8+size])
		entry = rest[8+size+1:] // and its newline
	}
	return all
}

// entry reads what a journal's socket gets next: an entry, or a file that holds one.
func entry(conn *net.UnixConn) ([]byte, error) {
	b, oob := make([]byte, 1<<18), make([]byte, 64)
	n, with, _, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil || n > 0 {
		return b[:n], err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:with])
	if err != nil || len(messages) != 1 {
		return nil, errors.Join(errors.New("an entry of nothing"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil || seals&unix.F_SEAL_WRITE == 0 {
		return nil, errors.Join(errors.New("a file that can change"), err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, 0, info.Size()))
}

func TestJournald(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	shipThrough(t, container(t, "journald", nil), newReceiver(func(t *testing.T, r *receiver) {
		os.Remove(socket)
		datagrams("unixgram", socket, func(p []byte) string { return fields(p)["MESSAGE"] })(t, r)
	}), Config{Journal: socket})
}

func TestJournalEntries(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "socket")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := container(t, "journald", map[string]string{"labels": "__own.label", "tag": "it"})
	c.Labels = map[string]string{"__own.label": "o=\n"}
	c.Family, c.Version = "web", "3"
	j, err := newJournald(c, socket)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	for _, text := range []string{"short", strings.Repeat("long ", maxMessage/4)} { // more than a datagram holds
		if err := j.send(t.Context(), []Message{{Text: []byte(text), Stream: jsonfile.Stderr, Time: epoch}}); err != nil {
			t.Fatal(err)
		}
		data, err := entry(conn)
		if err != nil {
			t.Fatal(err)
		}
		got := fields(data)
		if got["MESSAGE"] != text {
			t.Errorf("%d bytes have become %d", len(text), len(got["MESSAGE"]))
		}
		delete(got, "MESSAGE")
		want := map[string]string{"CONTAINER_ID": c.ID[:12], "CONTAINER_ID_FULL": c.ID, "CONTAINER_NAME": "ecs-web-3-c-0a0a0a0a0a0a0a0a0a0a", "CONTAINER_TAG": "it", "IMAGE_NAME": "img",
			"OWN_LABEL": "o=\n", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "it", "SYSLOG_TIMESTAMP": "2026-01-02T03:04:05Z"}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}
