package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// The limits of a call.
const (
	// callLimit is how long a hook may take to answer, as a Lambda function. Developer Guide, "Amazon ECS blue/green
	// service deployments workflow".
	callLimit = 15 * time.Minute
	// dialLimit is how long it may take to be reached at all.
	dialLimit = 10 * time.Second
	// maxAnswer bounds an answer, and with it what is kept of hookDetails.
	maxAnswer = 16 << 10
	// maxQuote is how much of a bad answer stands in a reason.
	maxQuote = 200
)

// callBackDelay is when a hook that answers IN_PROGRESS is called again, if it does not say. Developer Guide, "Lambda
// hooks for Amazon ECS service deployments". It may say a day at most, which is how long a hook has.
const (
	callBackDelay    = 30 * time.Second
	minCallBackDelay = time.Second
	maxCallBackDelay = 24 * time.Hour
)

// answer is what a hook says.
type answer struct {
	HookStatus    string
	CallBackDelay *float64        // seconds
	HookDetails   json.RawMessage // for its next call
	Reason        string
}

// errUnreachable is that nobody was there who could have answered: it may be otherwise soon.
var errUnreachable = errors.New("cannot be reached")

// newClient is what hooks are called with. It follows no redirect: a hook is called where its user said, and nowhere
// else.
func newClient() *http.Client {
	return &http.Client{
		Timeout: callLimit,
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialLimit}).DialContext,
			TLSHandshakeTimeout:    dialLimit,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// call asks a hook.
func call(ctx context.Context, client *http.Client, url string, event []byte) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(event))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Havn")
	res, err := client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, fmt.Errorf("%w: %w", errUnreachable, err)
	case res.StatusCode >= 500, res.StatusCode == http.StatusTooManyRequests:
		return answer{}, fmt.Errorf("%w: it answered %s", errUnreachable, res.Status)
	case res.StatusCode/100 != 2:
		return answer{}, fmt.Errorf("it answered %s", res.Status)
	case len(body) > maxAnswer:
		return answer{}, fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	return parse(body)
}

// parse reads an answer.
func parse(body []byte) (a answer, err error) {
	if err := json.Unmarshal(body, &a); err != nil {
		return a, fmt.Errorf("its answer is not JSON: %.*q", maxQuote, body)
	}
	switch a.HookStatus {
	case "SUCCEEDED", "FAILED", "IN_PROGRESS":
		return a, nil
	case "":
		return a, errors.New("HookStatus must not be null")
	}
	return a, fmt.Errorf("HookStatus must be SUCCEEDED, FAILED or IN_PROGRESS, and not %.*q", maxQuote, a.HookStatus)
}

// delay is when it wants to be called again.
func (a answer) delay() time.Duration {
	if a.CallBackDelay == nil {
		return callBackDelay
	}
	seconds := min(max(*a.CallBackDelay, minCallBackDelay.Seconds()), maxCallBackDelay.Seconds())
	return time.Duration(seconds * float64(time.Second))
}
