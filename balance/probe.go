package balance

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
)

// What ELB says of a probe that failed.
var (
	timedOut = verdict{elb.TargetHealthReasonEnumTimeout, "Request timed out"}
	failed   = verdict{elb.TargetHealthReasonEnumFailedHealthChecks, "Health checks failed"}
)

func mismatch(code int) verdict {
	return verdict{elb.TargetHealthReasonEnumResponseCodeMismatch, "Health checks failed with these codes: [" + strconv.Itoa(code) + "]"}
}

// agent is what a target's log shows of a probe.
const agent = "ELB-HealthChecker/2.0"

// probe makes one probe, on a connection of its own. ctx has the timeout.
func probe(ctx context.Context, c check) verdict {
	if c.record.Protocol == elb.ProtocolEnumTcp {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.at())
		if err != nil {
			return because(err)
		}
		conn.Close()
		return verdict{}
	}
	switch c.version {
	case "HTTP2", "GRPC":
		return probeHTTP2(ctx, c)
	}
	return probeHTTP(ctx, c)
}

// because is what a probe without an answer came to.
func because(err error) verdict {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return timedOut
	}
	return failed
}

// maxHeader is how much of an answer is read at most.
const maxHeader = 64 << 10

// probeHTTP asks in HTTP/1.1. The status alone counts, so no more than the header is waited for.
func probeHTTP(ctx context.Context, c check) verdict {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.at())
	if err != nil {
		return because(err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	conn.SetDeadline(deadline)                                                   //nolint:errcheck // then reading fails
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck // as above
	defer stop()
	if c.record.Protocol == elb.ProtocolEnumHttps {
		secure := tls.Client(conn, unverified)
		if err := secure.HandshakeContext(ctx); err != nil {
			return because(err)
		}
		conn = secure
	}
	request := "GET " + path(c) + " HTTP/1.1\r\nHost: " + c.at() + "\r\nConnection: close\r\nUser-Agent: " + agent + "\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return because(err)
	}
	res, err := http.ReadResponse(bufio.NewReaderSize(io.LimitReader(conn, maxHeader), 1024), nil)
	if err != nil {
		return because(err)
	}
	if !matches(codes(c.record.HTTPCodes, "200"), res.StatusCode) {
		return mismatch(res.StatusCode)
	}
	return verdict{}
}

func path(c check) string {
	switch {
	case c.record.Path != "":
		return c.record.Path
	case c.version == "GRPC":
		return "/AWS.ALB/healthcheck"
	}
	return "/"
}

// unverified is how ELB checks a target's certificate (AWS, "Target groups": it does not).
var unverified = &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10} //nolint:gosec // as AWS

// probeHTTP2 asks in HTTP/2, and of a GRPC target group in gRPC, with a call of no message: its status counts.
func probeHTTP2(ctx context.Context, c check) verdict {
	transport := &http.Transport{TLSClientConfig: unverified.Clone(), DisableKeepAlives: true, Protocols: new(http.Protocols), MaxResponseHeaderBytes: maxHeader}
	defer transport.CloseIdleConnections()
	transport.Protocols.SetHTTP2(true)
	transport.Protocols.SetUnencryptedHTTP2(true)
	method, body := http.MethodGet, io.Reader(nil)
	if c.version == "GRPC" {
		method, body = http.MethodPost, strings.NewReader("\x00\x00\x00\x00\x00")
	}
	scheme := strings.ToLower(string(c.record.Protocol))
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+c.at()+path(c), body)
	if err != nil {
		return failed
	}
	req.Header.Set("User-Agent", agent)
	if c.version == "GRPC" {
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("TE", "trailers")
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return because(err)
	}
	defer res.Body.Close()
	if c.version != "GRPC" {
		if !matches(codes(c.record.HTTPCodes, "200"), res.StatusCode) {
			return mismatch(res.StatusCode)
		}
		return verdict{}
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(res.Body, maxHeader)); err != nil {
		return because(err)
	}
	status := res.Trailer.Get("Grpc-Status")
	if status == "" {
		status = res.Header.Get("Grpc-Status") // an answer of trailers only
	}
	code, err := strconv.Atoi(status)
	if err != nil {
		return failed
	}
	if !matches(codes(c.record.GRPCCodes, "12"), code) {
		return mismatch(code)
	}
	return verdict{}
}

func codes(given, otherwise string) string {
	if given == "" {
		return otherwise
	}
	return given
}

// matches reports whether a matcher, such as 200,202 or 200-299, has a code.
func matches(matcher string, code int) bool {
	for one := range strings.SplitSeq(matcher, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(one), "-")
		from, err := strconv.Atoi(low)
		if err != nil {
			continue
		}
		to := from
		if isRange {
			if to, err = strconv.Atoi(high); err != nil {
				continue
			}
		}
		if from <= code && code <= to {
			return true
		}
	}
	return false
}
