package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"havn/agent/bucket"
	"havn/lifecycle"
	"havn/protocol"
)

// TestLogRouterOfAUser: a router that is not root can read its configuration, one from S3 as well, and make its socket; and
// that it takes nothing does not keep what logs through it from ending.
func TestLogRouterOfAUser(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "own.conf"), []byte("# mine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newNodeWith(t, nil, bucket.Folders{"configs": dir})
	n.drainTime = time.Millisecond
	n.load("busybox:latest", busybox(t, nil))
	task := oneTask("busybox:latest", "sh", "-c", "cat /fluentd/etc/fluent.conf /fluentd/etc/external.conf; echo >/var/run/made && echo made; echo >/fluentd/etc/fluent.conf")
	router := &task.Containers[0]
	router.DockerConfig = &protocol.DockerConfig{Config: `{"User":"1000:1000"}`}
	router.Firelens = &protocol.Firelens{Type: "fluentd", Options: map[string]string{
		"enable-ecs-log-metadata": "false", "config-file-type": "s3", "config-file-value": "arn:aws:s3:::configs/own.conf"}}
	app := protocol.Container{Name: "app", Image: "busybox:latest", Command: []string{"sh", "-c", "echo $FLUENT_PORT"},
		DockerConfig: &protocol.DockerConfig{HostConfig: `{"LogConfig":{"Type":"awsfirelens","Config":{"@type":"stdout"}}}`}}
	task.Containers = append(task.Containers, app)
	n.run(task)
	for _, c := range task.Containers {
		n.must(task, lifecycle.Wait, c.Name)
		n.must(task, lifecycle.Remove, c.Name)
	}
	n.must(task, lifecycle.Drain, "app")
	got := n.output(task, router.Name)
	for _, want := range []string{"<match app-firelens**>\n    @type stdout\n", "@include /fluentd/etc/external.conf\n", "# mine\nmade\n", "Read-only file system"} {
		if !strings.Contains(got, want) {
			t.Errorf("the router wrote %q, without %q", got, want)
		}
	}
	if strings.Contains(got, "ecs_cluster") {
		t.Errorf("it is told what it should not be: %q", got)
	}
	if got := n.output(task, "app"); got != "\n" { // where there is no network, the router has no address
		t.Errorf("the application is told of the port %q", got)
	}
	n.must(task, lifecycle.Disconnect, "")
	n.must(task, lifecycle.Discard, "")
}
