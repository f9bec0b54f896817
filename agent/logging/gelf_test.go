package logging

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/json"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"havn/agent/logging/jsonfile"
)

// ungelf reads messages out of datagrams, as Graylog does.
type ungelf struct{ chunks map[string][][]byte }

// add returns what the message says to which the packet is the last part.
func (u *ungelf) add(packet []byte) (map[string]any, error) {
	if bytes.HasPrefix(packet, []byte{0x1e, 0x0f}) {
		id, number, count := string(packet[2:10]), packet[10], packet[11]
		if u.chunks[id] == nil {
			u.chunks[id] = make([][]byte, count)
		}
		u.chunks[id][number] = bytes.Clone(packet[12:])
		for _, c := range u.chunks[id] {
			if c == nil {
				return nil, nil
			}
		}
		packet = bytes.Join(u.chunks[id], nil)
	}
	var from io.Reader = bytes.NewReader(packet)
	var err error
	switch {
	case bytes.HasPrefix(packet, []byte{0x1f, 0x8b}):
		from, err = gzip.NewReader(from)
	case packet[0] == 0x78:
		from, err = zlib.NewReader(from)
	}
	if err != nil {
		return nil, err
	}
	var said map[string]any
	return said, json.NewDecoder(from).Decode(&said)
}

func shortMessage(packet []byte) string {
	said, err := (&ungelf{}).add(packet)
	if err != nil {
		return err.Error()
	}
	return said["short_message"].(string)
}

func TestGELF(t *testing.T) {
	udp, tcp := freePort(t, "udp"), freePort(t, "tcp")
	t.Run("udp", func(t *testing.T) {
		t.Parallel()
		shipThrough(t, container(t, "gelf", map[string]string{"gelf-address": "udp://" + udp}), newReceiver(datagrams("udp", udp, shortMessage)), Config{})
	})
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		shipThrough(t, container(t, "gelf", map[string]string{"gelf-address": "tcp://" + tcp}), newReceiver(streams("tcp", tcp, nil,
			func(b *bufio.Reader) (string, error) {
				text, err := b.ReadBytes(0)
				if err != nil {
					return "", err
				}
				return shortMessage(text[:len(text)-1]), nil
			})), Config{})
	})
}

func TestGELFMessages(t *testing.T) {
	long := strings.Repeat("é", 5000)
	var noise strings.Builder // which nothing compresses, and which does not fit into one message
	for random := rand.New(rand.NewPCG(1, 2)); noise.Len() < maxMessage; {
		noise.WriteRune(rune(0x4e00 + random.IntN(0x5000)))
	}
	for _, kind := range []string{"", "gzip", "zlib", "none"} {
		c := container(t, "gelf", map[string]string{"gelf-address": "udp://h:1", "gelf-compression-type": kind, "labels": "com.amazonaws.ecs.task-arn,own",
			"env": "E", "tag": "{{.Name}}"})
		c.Labels, c.Environment = map[string]string{"own": "o"}, map[string]string{"E": "e", "SECRET": "s"}
		c.Family, c.Version = "web", "3"
		g, err := newGELF(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"short", long, noise.String()} {
			m := Message{Text: []byte(text), Stream: jsonfile.Stderr, Time: epoch}
			packets, err := g.packets(m, m.Text)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			read := &ungelf{map[string][][]byte{}}
			for _, p := range packets {
				if len(p) > gelfDatagram {
					t.Errorf("a datagram of %d bytes", len(p))
				}
				said, err := read.add(p)
				if err != nil {
					t.Fatal(err)
				}
				if said == nil {
					continue
				}
				got += said["short_message"].(string)
				delete(said, "short_message")
				delete(said, "host")
				want := `{"_E":"e","_com.amazonaws.ecs.task-arn":"` + c.TaskARN + `","_container_id":"` + c.ID + `","_container_name":"ecs-web-3-c-0a0a0a0a0a0a0a0a0a0a",` +
					`"_image_name":"img","_own":"o","_tag":"c","level":3,"timestamp":1767323045,"version":"1.1"}`
				if rest, err := json.Marshal(said); err != nil || string(rest) != want {
					t.Errorf("%s, %v, want %s", rest, err, want)
				}
			}
			if got != text {
				t.Errorf("%s: %d bytes have become %d", kind, len(text), len(got))
			}
		}
	}
}
