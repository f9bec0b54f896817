package logging

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// journalSocket is where systemd's journal takes entries.
const journalSocket = "/run/systemd/journal/socket"

// journald gives messages to systemd's journal. Docker documentation, "Journald logging driver"; systemd documentation,
// "Native Journal Protocol". The well-kept library for it, go-systemd's, knows one socket and lets nobody choose another,
// so that nobody could test a journal that comes later; what a driver needs of it is as long as this file.
type journald struct {
	link   *link
	fields []byte // the same in every entry
}

func newJournald(c Container, socket string) (*journald, error) {
	if socket == "" {
		socket = journalSocket
	}
	fields, err := c.extra()
	if err != nil {
		return nil, err
	}
	tag, err := c.tag("")
	if err != nil {
		return nil, err
	}
	j := &journald{link: &link{places: []place{{"unixgram", socket}}, tooLong: sendFile}}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if field := journalName(name); field != "" {
			j.fields = appendField(j.fields, field, fields[name])
		}
	}
	for _, field := range [][2]string{
		{"CONTAINER_ID", c.ID[:min(12, len(c.ID))]}, {"CONTAINER_ID_FULL", c.ID}, {"CONTAINER_NAME", c.dockerName()},
		{"CONTAINER_TAG", tag}, {"IMAGE_NAME", c.Image}, {"SYSLOG_IDENTIFIER", tag},
	} {
		j.fields = appendField(j.fields, field[0], field[1])
	}
	return j, nil
}

// journalName makes a field's name of a label's or variable's, as Docker does: of capitals, digits and underscores, and no
// underscore first, which would be the journal's own. It is empty if nothing is left of the name.
func journalName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z' || r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)
	return strings.TrimLeft(name, "_")
}

// appendField adds a field in the form that takes any text.
func appendField(entry []byte, name, text string) []byte {
	entry = append(append(entry, name...), '\n')
	entry = binary.LittleEndian.AppendUint64(entry, uint64(len(text)))
	return append(append(entry, text...), '\n')
}

func (j *journald) send(ctx context.Context, batch []Message) error {
	var entries [][]byte
	for _, m := range batch {
		entry := appendField(bytes.Clone(j.fields), "PRIORITY", strconv.Itoa(severity(m.Stream)))
		entry = appendField(entry, "SYSLOG_TIMESTAMP", m.Time.UTC().Format(time.RFC3339Nano))
		entries = append(entries, appendField(entry, "MESSAGE", string(m.Text)))
	}
	return j.link.send(ctx, entries)
}

// sendFile sends an entry that is too long for a datagram as a file in memory, sealed so that it cannot change any more.
func sendFile(conn net.Conn, entry []byte) error {
	fd, err := unix.MemfdCreate("journal-entry", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return fmt.Errorf("cannot make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "journal-entry")
	defer f.Close()
	if _, err := f.Write(entry); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("cannot seal a file in memory: %w", err)
	}
	socket, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	rights := unix.UnixRights(int(f.Fd()))
	var sent error
	err = socket.Write(func(fd uintptr) bool { // WriteMsgUnix wants no socket that is connected
		sent = unix.Sendmsg(int(fd), nil, rights, nil, unix.MSG_NOSIGNAL)
		return !errors.Is(sent, unix.EAGAIN)
	})
	return errors.Join(err, sent)
}

// Close ends the connection.
func (j *journald) Close() error { return j.link.Close() }
