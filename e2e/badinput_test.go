package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// request is an HTTP request as a client with odd ideas makes it.
type request struct {
	operation, body string
	key             func(aws.Credentials) aws.Credentials // signs with another key
	signedAt        time.Duration                         // from now
	tamper          func(*http.Request)                   // after signing
}

func (h *havnOf) send(r request) (status int, code, message string) {
	h.t.Helper()
	req, err := http.NewRequest(http.MethodPost, h.endpoint+"/", strings.NewReader(r.body))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+r.operation)
	key := h.key
	if r.key != nil {
		key = r.key(key)
	}
	hash := sha256.Sum256([]byte(r.body))
	if err := v4.NewSigner().SignHTTP(context.Background(), key, req, hex.EncodeToString(hash[:]), "ecs", "us-east-1", time.Now().Add(r.signedAt)); err != nil {
		h.t.Fatal(err)
	}
	if r.tamper != nil {
		r.tamper(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK && res.Header.Get("x-amzn-RequestId") == "" {
		h.t.Errorf("%s is answered without a request id", r.operation)
	}
	var answer struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Upper   string `json:"Message"`
	}
	json.Unmarshal(content, &answer)
	return res.StatusCode, answer.Type[strings.LastIndexByte(answer.Type, '#')+1:], answer.Message + answer.Upper
}

// Whatever is sent, the answer is the one that AWS gives, and Havn stays up.
func TestOddRequestsAreAnsweredAsAWSDoes(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t, "--no-node")
	if _, err := h.CreateCluster(within(t), &ecs.CreateClusterInput{}); err != nil {
		t.Fatal(err)
	}
	container := `{"family":"f","containerDefinitions":[{"name":"c","image":"i"%s}]}`
	with := func(member string) string { return strings.Replace(container, "%s", member, 1) }
	otherSecret := func(k aws.Credentials) aws.Credentials { k.SecretAccessKey += "x"; return k }
	for _, c := range []struct {
		name string
		request
		status  int
		code    string
		message string
	}{
		{"malformed JSON", request{operation: "ListClusters", body: `{"maxResults":`}, 400, "SerializationException", ""},
		{"no object", request{operation: "ListClusters", body: `[]`}, 400, "SerializationException", ""},
		{"wrong type", request{operation: "ListClusters", body: `{"maxResults":"ten"}`}, 400, "SerializationException", ""},
		{"wrong type below", request{operation: "RegisterTaskDefinition", body: with(`,"command":"ls"`)}, 400, "SerializationException", ""},
		{"a body of 2 MiB", request{operation: "ListClusters", body: `{"nextToken":"` + strings.Repeat("x", 2<<20) + `"}`}, 413, "RequestEntityTooLargeException", ""},
		{"unknown member", request{operation: "ListClusters", body: `{"nonsense":{"a":[1]}}`}, 200, "", ""},
		{"unknown operation", request{operation: "RunTusk", body: `{}`}, 400, "UnknownOperationException", ""},
		{"unknown cluster", request{operation: "DescribeTasks", body: `{"cluster":"none","tasks":["0123456789abcdef0123456789abcdef"]}`}, 400, "ClusterNotFoundException", "Cluster not found."},
		{"required member missing", request{operation: "DescribeTasks", body: `{}`}, 400, "InvalidParameterException", ""},
		{"no containers", request{operation: "RegisterTaskDefinition", body: `{"family":"f","containerDefinitions":[]}`}, 400, "ClientException", "Container list cannot be empty."},
		{"no memory", request{operation: "RegisterTaskDefinition", body: with(``)}, 400, "ClientException", "Invalid setting for container 'c'. At least one of 'memory' or 'memoryReservation' must be specified."},
		{"memory below the minimum", request{operation: "RegisterTaskDefinition", body: with(`,"memory":5`)}, 400, "ClientException", "6"},
		{"enum", request{operation: "RunTask", body: `{"taskDefinition":"f","launchType":"MOON"}`}, 400, "InvalidParameterException", "MOON"},
		{"unknown definition", request{operation: "RunTask", body: `{"taskDefinition":"none"}`}, 400, "ClientException", "TaskDefinition not found."},
		{"wrong secret", request{operation: "ListClusters", body: `{}`, key: otherSecret}, 400, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided."},
		{"wrong key", request{operation: "ListClusters", body: `{}`, key: func(k aws.Credentials) aws.Credentials { k.AccessKeyID = "AKIANOBODY"; return k }}, 400, "UnrecognizedClientException", "The security token included in the request is invalid."},
		{"unknown session", request{operation: "ListClusters", body: `{}`, key: func(k aws.Credentials) aws.Credentials { k.SessionToken = "of yesterday"; return k }}, 400, "UnrecognizedClientException", ""},
		{"signed an hour ago", request{operation: "ListClusters", body: `{}`, signedAt: -time.Hour}, 400, "InvalidSignatureException", "Signature expired: "},
		{"signed in an hour", request{operation: "ListClusters", body: `{}`, signedAt: time.Hour}, 400, "InvalidSignatureException", "Signature not yet current: "},
		{"body tampered with", request{operation: "ListClusters", body: `{"maxResults":1}`, tamper: func(r *http.Request) {
			r.Body = io.NopCloser(bytes.NewReader([]byte(`{"maxResults":9}`)))
		}}, 400, "InvalidSignatureException", "does not match"},
		{"not signed", request{operation: "ListClusters", body: `{}`, tamper: func(r *http.Request) { r.Header.Del("Authorization") }}, 400, "MissingAuthenticationTokenException", ""},
		{"signed in a new way", request{operation: "ListClusters", body: `{}`, tamper: func(r *http.Request) { r.Header.Set("Authorization", "AWS9-HMAC x=y") }}, 400, "", ""},
	} {
		status, code, message := h.send(c.request)
		if status != c.status || code != c.code && c.code != "" || !strings.Contains(message, c.message) {
			t.Errorf("%s: answered %d %s %q; want %d %s ...%q...", c.name, status, code, message, c.status, c.code, c.message)
		}
	}
	if _, err := h.ListClusters(within(t), &ecs.ListClustersInput{}); err != nil {
		t.Errorf("after all this: %v", err)
	}
}

// What the node cannot act on is refused by name; it is never run without.
func TestRunTaskRefusesWhatWouldBeIgnored(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	plain := box("c", "true")
	for field, d := range map[string]*ecs.RegisterTaskDefinitionInput{
		"networkMode": {NetworkMode: types.NetworkModeAwsvpc, ContainerDefinitions: []types.ContainerDefinition{plain}},
		"repositoryCredentials": {ContainerDefinitions: []types.ContainerDefinition{func() types.ContainerDefinition {
			c := plain
			c.RepositoryCredentials = &types.RepositoryCredentials{CredentialsParameter: aws.String("arn:aws:secretsmanager:us-east-1:000000000000:secret:s")}
			return c
		}()}},
	} {
		d.Family = aws.String("with-" + field)
		if _, err := h.RegisterTaskDefinition(within(t), d); err != nil {
			t.Errorf("%s: cannot even be registered: %v", field, err)
			continue
		}
		_, err := h.RunTask(within(t), &ecs.RunTaskInput{TaskDefinition: d.Family})
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("RunTask with %s: %v; want it refused, and the field named", field, err)
		}
	}
	// What no node could ever run is refused when it is registered.
	small, flying := plain, plain
	small.Memory = aws.Int32(5)
	flying.LinuxParameters = &types.LinuxParameters{Capabilities: &types.KernelCapabilities{Add: []string{"FLY"}}}
	for want, c := range map[string]types.ContainerDefinition{"The minimum value for 'memory' is 6.": small, "Invalid Linux capability 'FLY'": flying} {
		_, err := h.RegisterTaskDefinition(within(t), &ecs.RegisterTaskDefinitionInput{Family: aws.String("no-node"), ContainerDefinitions: []types.ContainerDefinition{c}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("RegisterTaskDefinition: %v; want %s", err, want)
		}
	}
}

// A task that cannot run says why, as ECS does, and everything else goes on.
func TestTasksThatCannotRunSayWhy(t *testing.T) {
	needRoot(t)
	t.Parallel()
	h := newSite(t).start(t)
	h.load("busybox.tar")
	registry := startRegistry(t)
	with := func(change func(*types.ContainerDefinition)) types.ContainerDefinition {
		c := box("c", "true")
		change(&c)
		return c
	}
	for family, c := range map[string]struct {
		container types.ContainerDefinition
		code      types.TaskStopCode
		exit      int32 // -1: none; -2: any
		reason    string
	}{
		"no-image": {with(func(c *types.ContainerDefinition) { c.Image = aws.String(registry.address + "/nothing:v1") }),
			types.TaskStopCodeTaskFailedToStart, -1, "CannotPullImageManifestError: "},
		"no-registry": {with(func(c *types.ContainerDefinition) { c.Image = aws.String("127.0.0.1:1/nothing:v1") }),
			types.TaskStopCodeTaskFailedToStart, -1, "connection refused"},
		"no-command": {with(func(c *types.ContainerDefinition) { c.Command = []string{"/no/such/command"} }),
			types.TaskStopCodeTaskFailedToStart, -2, "CannotStartContainerError: "},
		"no-folder-to-execute": {with(func(c *types.ContainerDefinition) { c.Command = []string{"/tmp"} }),
			types.TaskStopCodeTaskFailedToStart, -2, "CannotStartContainerError: "},
		"no-user": {with(func(c *types.ContainerDefinition) { c.User = aws.String("nobody-knows") }),
			types.TaskStopCodeTaskFailedToStart, -1, "CannotCreateContainerError: "},
		"fails":     {box("c", "exit 9"), types.TaskStopCodeEssentialContainerExited, 9, ""},
		"is-killed": {box("c", "kill -9 $$; exec kill -9 1"), types.TaskStopCodeEssentialContainerExited, -2, ""},
		"is-greedy": {with(func(c *types.ContainerDefinition) { c.Memory, c.Command = aws.Int32(8), []string{"tail", "/dev/zero"} }),
			types.TaskStopCodeEssentialContainerExited, 137, "OutOfMemoryError: Container killed due to memory usage"},
	} {
		h.define(family, c.container)
		task := h.stopped(h.run(family))
		got := task.Containers[0]
		exit := int32(-1)
		if got.ExitCode != nil {
			exit = *got.ExitCode
		}
		if task.StopCode != c.code || exit != c.exit && c.exit != -2 || !strings.Contains(aws.ToString(got.Reason), c.reason) {
			t.Errorf("%s: %s, exit code %d, %q (%q); want %s, %d, %q", family, task.StopCode, exit, aws.ToString(got.Reason),
				aws.ToString(task.StoppedReason), c.code, c.exit, c.reason)
		}
	}
	h.define("well", box("c", "exit 0"))
	if task := h.stopped(h.run("well")); aws.ToInt32(task.Containers[0].ExitCode) != 0 {
		t.Errorf("after all this: %v", task.Containers[0])
	}
}
