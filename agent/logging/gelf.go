package logging

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
	"unicode/utf8"
)

// gelf gives messages to what takes the Graylog Extended Log Format. Docker documentation, "Graylog Extended Format
// logging driver"; Graylog documentation, "GELF".
type gelf struct {
	link     *link
	compress func(io.Writer) (io.WriteCloser, error) // nil: not at all
	fields   map[string]any                          // the same in every message
}

// The limits of GELF over UDP: a datagram, the part of it that says which chunk it is, and the chunks of one message.
const (
	gelfDatagram = 1420
	gelfHeader   = 12
	gelfChunks   = 128
)

func newGELF(c Container) (*gelf, error) {
	address := c.option("gelf-address")
	u, err := url.Parse(address)
	switch {
	case address == "":
		return nil, fmt.Errorf("gelf: gelf-address is a required parameter")
	case err != nil:
		return nil, fmt.Errorf("cannot read the log option gelf-address: %w", err)
	case u.Scheme != "udp" && u.Scheme != "tcp":
		return nil, fmt.Errorf("gelf: endpoint needs to be TCP or UDP")
	case u.Hostname() == "" || u.Port() == "":
		return nil, fmt.Errorf("gelf: please provide gelf-address as proto://host:port")
	}
	g := &gelf{link: &link{places: []place{{u.Scheme, u.Host}}}, fields: map[string]any{"version": "1.1"}}
	if u.Scheme == "udp" {
		if g.compress, err = gelfCompression(c); err != nil {
			return nil, err
		}
	}
	if g.fields["host"], err = os.Hostname(); err != nil {
		return nil, err
	}
	extra, err := c.extra()
	if err != nil {
		return nil, err
	}
	for name, value := range extra {
		g.fields["_"+name] = value
	}
	if g.fields["_tag"], err = c.tag(""); err != nil {
		return nil, err
	}
	g.fields["_container_id"], g.fields["_container_name"], g.fields["_image_name"] = c.ID, c.dockerName(), c.Image
	return g, nil
}

func gelfCompression(c Container) (func(io.Writer) (io.WriteCloser, error), error) {
	level := flate.BestSpeed
	if text := c.option("gelf-compression-level"); text != "" {
		var err error
		if level, err = strconv.Atoi(text); err != nil || level < flate.DefaultCompression || level > flate.BestCompression {
			return nil, fmt.Errorf("gelf: invalid value %q for the log option gelf-compression-level: it goes from -1 to 9", text)
		}
	}
	switch kind := c.option("gelf-compression-type"); kind {
	case "none":
		return nil, nil
	case "", "gzip":
		return func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, level) }, nil
	case "zlib":
		return func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, level) }, nil
	default:
		return nil, fmt.Errorf("gelf: unknown compression type: %q", kind)
	}
}

func (g *gelf) send(ctx context.Context, batch []Message) error {
	var packets [][]byte
	for _, m := range batch {
		if len(m.Text) == 0 { // GELF has no empty message; Docker leaves them out
			continue
		}
		made, err := g.packets(m, m.Text)
		if err != nil {
			return err
		}
		packets = append(packets, made...)
	}
	return g.link.send(ctx, packets)
}

// packets are what becomes of a text of m. What is too long for the chunks of one message becomes several.
func (g *gelf) packets(m Message, text []byte) ([][]byte, error) {
	data, err := g.encode(m, text)
	switch {
	case err != nil:
		return nil, err
	case g.link.places[0].network == "tcp":
		return [][]byte{append(data, 0)}, nil
	case len(data) <= gelfDatagram:
		return [][]byte{data}, nil
	case len(data) <= gelfChunks*(gelfDatagram-gelfHeader):
		return chunks(data), nil
	case len(text) <= utf8.UTFMax:
		return nil, fmt.Errorf("gelf: the labels and environment variables of the container make its messages too long")
	}
	middle := len(text) / 2
	for i := 0; i < utf8.UTFMax-1 && !utf8.RuneStart(text[middle]); i++ {
		middle--
	}
	first, err := g.packets(m, text[:middle])
	if err != nil {
		return nil, err
	}
	second, err := g.packets(m, text[middle:])
	return append(first, second...), err
}

func (g *gelf) encode(m Message, text []byte) ([]byte, error) {
	all := map[string]any{
		"short_message": string(text), "level": severity(m.Stream),
		"timestamp": json.Number(fmt.Sprintf("%d.%03d", m.Time.Unix(), m.Time.Nanosecond()/1e6)),
	}
	for name, value := range g.fields {
		all[name] = value
	}
	data, err := json.Marshal(all)
	if err != nil || g.compress == nil {
		return data, err
	}
	var b bytes.Buffer
	w, err := g.compress(&b)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}

// chunks divides a message among datagrams, which name it by the same random number.
func chunks(data []byte) (all [][]byte) {
	const size = gelfDatagram - gelfHeader
	id := make([]byte, 8)
	rand.Read(id) // it never fails
	count := (len(data) + size - 1) / size
	for i := range count {
		header := append([]byte{0x1e, 0x0f}, append(bytes.Clone(id), byte(i), byte(count))...)
		all = append(all, append(header, data[i*size:min(len(data), (i+1)*size)]...))
	}
	return all
}

// Close ends the connection.
func (g *gelf) Close() error { return g.link.Close() }
