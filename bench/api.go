package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

const (
	apiConnections = 32
	apiTime        = 4 * time.Second
)

// measureAPI loads the API over keep-alive connections with requests that were signed once, as wrk would:
// the server verifies every one of them, and the client takes little of the machine that both share.
func measureAPI(ctx context.Context, c config) ([]result, error) {
	h, err := startHavn(ctx, c)
	if err != nil {
		return nil, err
	}
	defer h.stop()
	if err := h.loadImage(ctx); err != nil {
		return nil, err
	}
	run, err := h.client.RunTask(ctx, &ecs.RunTaskInput{TaskDefinition: aws.String("bench")})
	if err != nil {
		return nil, err
	}
	if len(run.Tasks) == 0 {
		return nil, fmt.Errorf("no task was placed")
	}
	if _, err := h.await(ctx, *run.Tasks[0].TaskArn, "RUNNING"); err != nil {
		return nil, err
	}
	var results []result
	always := func(body string) func(int) string { return func(int) string { return body } }
	for _, call := range []struct {
		operation string
		body      func(connection int) string
		aim       string
	}{
		{"ListClusters", always("{}"), "over 10000/s"},
		{"DescribeTasks", always(fmt.Sprintf(`{"tasks":[%q]}`, *run.Tasks[0].TaskArn)), ""},
		{"RegisterTaskDefinition", func(connection int) string {
			return fmt.Sprintf(`{"family":"load-%d","containerDefinitions":[{"name":"c","image":"i","memory":64}]}`, connection)
		}, ""},
	} {
		requests := make([][]byte, apiConnections)
		for n := range requests {
			if requests[n], err = signed(h.endpoint, h.key.AccessKeyID, h.key.SecretAccessKey, call.operation, call.body(n)); err != nil {
				return nil, err
			}
		}
		cpuBefore, err := cpuTime(h.pid)
		if err != nil {
			return nil, err
		}
		latencies, took, err := load(ctx, strings.TrimPrefix(h.endpoint, "http://"), requests)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", call.operation, err)
		}
		cpuAfter, err := cpuTime(h.pid)
		if err != nil {
			return nil, err
		}
		results = append(results, result{
			call.operation + " signed, " + fmt.Sprint(apiConnections) + " connections",
			fmt.Sprintf("%.0f/s, p50 %s, p99 %s, server CPU %.0f us/call", float64(len(latencies))/took.Seconds(),
				millis(percentile(latencies, 50)), millis(percentile(latencies, 99)),
				float64((cpuAfter-cpuBefore).Microseconds())/float64(len(latencies))),
			call.aim,
		})
	}
	return results, nil
}

func load(ctx context.Context, address string, requests [][]byte) ([]time.Duration, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTime)
	defer cancel()
	var mu sync.Mutex
	var all []time.Duration
	var failure error
	var workers sync.WaitGroup
	begin := time.Now()
	for _, request := range requests {
		workers.Go(func() {
			latencies, err := loadOne(ctx, address, request)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			if err != nil {
				failure = err
			}
		})
	}
	workers.Wait()
	return all, time.Since(begin), failure
}

func loadOne(ctx context.Context, address string, request []byte) ([]time.Duration, error) {
	conn, err := dial(address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var latencies []time.Duration
	for ctx.Err() == nil {
		begin := time.Now()
		status, err := conn.call(request)
		if err != nil {
			return nil, err
		}
		if status != http.StatusOK {
			return nil, fmt.Errorf("answered %d", status)
		}
		latencies = append(latencies, time.Since(begin))
	}
	return latencies, nil
}

// connection is a keep-alive connection that sends ready-made bytes.
type connection struct {
	net.Conn
	answers *bufio.Reader
}

func dial(address string) (*connection, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return &connection{conn, bufio.NewReader(conn)}, nil
}

func (c *connection) call(request []byte) (status int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, err
	}
	res, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// signed is a whole HTTP request, signed by the SDK's own signer.
func signed(endpoint, id, secret, operation, body string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodPost, endpoint+"/", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113."+operation)
	sum := sha256.Sum256([]byte(body))
	err = v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, req,
		hex.EncodeToString(sum[:]), "ecs", region, time.Now())
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := req.Write(&out); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// cpuTime is what a process has used so far. proc(5), /proc/pid/stat, fields 14 and 15.
func cpuTime(pid int) (time.Duration, error) {
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+2:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	const ticksPerSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	return time.Duration(user+system) * time.Second / ticksPerSecond, nil
}

func definition(family string) *ecs.RegisterTaskDefinitionInput {
	return &ecs.RegisterTaskDefinitionInput{
		Family: aws.String(family), NetworkMode: types.NetworkModeBridge,
		ContainerDefinitions: []types.ContainerDefinition{{
			Name: aws.String("c"), Image: aws.String(image), Memory: aws.Int32(16), StopTimeout: aws.Int32(1),
			PortMappings: []types.PortMapping{{ContainerPort: aws.Int32(80)}},
		}},
	}
}
