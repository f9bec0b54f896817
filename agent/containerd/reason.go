package containerd

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"

	"havn/agent/network"
	"havn/lifecycle"
)

// What ECS's agent puts before an error that a user can do something about.
const (
	hintAccess  = "The task can’t pull the image. Check that the role has the permissions to pull images from the registry. "
	hintExists  = "The task can’t pull the image. Check whether the image exists. "
	hintNetwork = "The task can’t pull the image. Check your network configuration. "
	daemonSays  = "Error response from daemon: "
)

// The names of errors that ECS's agent uses.
var errorName = map[lifecycle.Verb]string{
	lifecycle.Connect:    "ContainerNetworkingError",
	lifecycle.Pull:       "CannotPullContainerError",
	lifecycle.Create:     "CannotCreateContainerError",
	lifecycle.Start:      "CannotStartContainerError",
	lifecycle.Wait:       "CannotInspectContainerError",
	lifecycle.Stop:       "CannotStopContainerError",
	lifecycle.Remove:     "CannotRemoveContainerError",
	lifecycle.Disconnect: "ContainerNetworkingError",
	lifecycle.Discard:    "CannotRemoveContainerError",
}

// reasonOf words an error as ECS does, whose agent passes on what a Docker engine says.
func reasonOf(v lifecycle.Verb, err error) string {
	if errors.Is(err, errVanished) {
		return "ContainerVanishedError: " + errVanished.Error()
	}
	if taken, ok := errors.AsType[*network.PortTakenError](err); ok {
		return fmt.Sprintf("CannotStartContainerError: %sdriver failed programming external connectivity on endpoint: "+
			"Bind for 0.0.0.0:%d failed: port is already allocated", daemonSays, taken.Port)
	}
	if resolving, ok := errors.AsType[*resolveError](err); ok {
		return "CannotPullImageManifestError: " + pullText(resolving.name, resolving.err)
	}
	if fetching, ok := errors.AsType[*fetchError](err); ok {
		if errors.Is(err, errStalled) {
			return fmt.Sprintf("DockerTimeoutError: Could not transition to pulled; timed out after waiting %v", stalled)
		}
		return "CannotPullContainerError: " + pullText(fetching.name, fetching.err)
	}
	if resource, ok := errors.AsType[*resourceError](err); ok {
		return resource.Error()
	}
	text := err.Error()
	if strings.Contains(text, "OCI runtime") {
		text = "failed to create task for container: " + text + ": unknown"
	}
	return errorName[v] + ": " + daemonSays + text
}

func pullText(name string, err error) string {
	status, _ := errors.AsType[remoteerrors.ErrUnexpectedStatus](err)
	request, requested := errors.AsType[*url.Error](err)
	_, dialed := errors.AsType[net.Error](err)
	switch {
	case strings.Contains(err.Error(), "no space left on device"):
		return daemonSays + "failed to register layer: no space left on device"
	case strings.Contains(err.Error(), "no match for platform"):
		return daemonSays + "no matching manifest for " + platforms.DefaultString() + " in the manifest list entries"
	case errors.Is(err, docker.ErrInvalidAuthorization),
		status.StatusCode == http.StatusUnauthorized, status.StatusCode == http.StatusForbidden:
		return hintAccess + daemonSays + "pull access denied for " + repository(name) +
			", repository does not exist or may require 'docker login': denied: " + err.Error()
	case errdefs.IsNotFound(err), status.StatusCode == http.StatusNotFound:
		return hintExists + daemonSays + "manifest for " + familiar(name) + " not found: manifest unknown: " + err.Error()
	case requested:
		return hintNetwork + daemonSays + request.Error()
	case dialed:
		return hintNetwork + daemonSays + err.Error()
	}
	return daemonSays + err.Error()
}

func repository(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return reference.FamiliarName(named)
}
