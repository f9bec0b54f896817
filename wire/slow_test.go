package wire_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"havn/wire"
)

// pipes is a listener without a network: its connections end in dial, and their deadlines go by the
// bubble's clock.
type pipes struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.accepted:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// serve answers one connection, and returns its other end.
func serve(t *testing.T, h http.Handler) net.Conn {
	l := &pipes{make(chan net.Conn), make(chan struct{})}
	server := http.Server{Handler: h}
	go server.Serve(l)
	client, accepted := net.Pipe()
	l.accepted <- accepted
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client
}

func TestABodyThatIsNotSentIsNotWaitedForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, newServer(apis()...))
		begun := time.Now()
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: havn.test\r\nX-Amz-Target: AmazonEC2ContainerServiceV20141113.RunTask\r\n"+
			"Content-Length: 100\r\n\r\n{")
		replies := bufio.NewReader(conn)
		resp, err := http.ReadResponse(replies, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "not sent within 30s") {
			t.Errorf("answered %d %s %v", resp.StatusCode, body, err)
		}
		if _, err := replies.ReadByte(); err != io.EOF {
			t.Errorf("the connection goes on: %v", err)
		}
		if waited := time.Since(begun); waited < wire.BodyTimeout || waited > wire.BodyTimeout+time.Second {
			t.Errorf("waited %v", waited)
		}
	})
}

// The deadline is the body's: what the call itself takes, and the next call on the connection, have none.
func TestACallMayTakeLongerThanItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := newSTS()
		wire.Handle(api, func(ctx context.Context, in *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
			select {
			case <-time.After(2 * wire.BodyTimeout):
				return &sts.GetCallerIdentityOutput{Account: &root.Account}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		conn := serve(t, newServer(api))
		replies := bufio.NewReader(conn)
		for range 2 {
			var text strings.Builder
			client := sts.NewFromConfig(config(func(r *http.Request) (*http.Response, error) {
				if err := r.Write(&text); err != nil {
					return nil, err
				}
				if _, err := io.WriteString(conn, text.String()); err != nil {
					return nil, err
				}
				return http.ReadResponse(replies, r)
			}))
			out, err := client.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
			if err != nil {
				t.Fatal(err)
			}
			if *out.Account != root.Account {
				t.Errorf("got %+v", out)
			}
			time.Sleep(2 * wire.BodyTimeout)
		}
	})
}
