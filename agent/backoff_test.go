package agent

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/coder/websocket"
)

// nobody returns an address of this machine on which nobody listens.
func nobody(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAServerOfThisMachineIsLookedForOften(t *testing.T) {
	addr := nobody(t)
	api := ecs.New(ecs.Options{BaseEndpoint: aws.String("http://" + addr), Region: "us-east-1", Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")})
	_, called := api.DiscoverPollEndpoint(t.Context(), &ecs.DiscoverPollEndpointInput{})
	_, _, dialled := websocket.Dial(t.Context(), "ws://"+addr, nil)
	for what, err := range map[string]error{"API call": called, "websocket": dialled} {
		var b backoff
		for range 100 {
			if d := b.next(err, 0); d > 100*time.Millisecond {
				t.Fatalf("%s: waits %v after %v", what, d, err)
			}
		}
	}
}

func TestAServerThatRefusesIsLookedForLessAndLess(t *testing.T) {
	var b backoff
	refused := errors.New("refused")
	first := b.next(refused, 0)
	if first > 50*time.Millisecond {
		t.Errorf("the first delay is %v", first)
	}
	total, last := time.Duration(0), time.Duration(0)
	for range 40 {
		last = b.next(refused, 0)
		total += last
	}
	if last < lastDelay*8/10 || last > lastDelay*12/10 {
		t.Errorf("after %v of failures it waits %v", total, last)
	}
	if d := b.next(refused, time.Minute); d > 50*time.Millisecond {
		t.Errorf("after a good connection it waits %v", d)
	}
}
