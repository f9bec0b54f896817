package containerd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
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
	"golang.org/x/sys/unix"

	"havn/agent/network"
	"havn/cause"
	"havn/lifecycle"
)

// What ECS's agent puts before an error that a user can do something about.
const (
	hintAccess  = "The task can’t pull the image. Check that the role has the permissions to pull images from the registry. "
	hintExists  = "The task can’t pull the image. Check whether the image exists. "
	hintNetwork = "The task can’t pull the image. Check your network configuration. "
	daemonSays  = "Error response from daemon: "
)

// The names of errors that ECS's agent uses; it ships no logs itself, so of that one the name is ours. Every verb has one.
var errorName = map[lifecycle.Verb]string{
	lifecycle.Connect:    "ContainerNetworkingError",
	lifecycle.Pull:       "CannotPullContainerError",
	lifecycle.Create:     "CannotCreateContainerError",
	lifecycle.Start:      "CannotStartContainerError",
	lifecycle.Wait:       "CannotInspectContainerError",
	lifecycle.Probe:      "CannotInspectContainerError",
	lifecycle.Stop:       "CannotStopContainerError",
	lifecycle.Remove:     "CannotRemoveContainerError",
	lifecycle.Ship:       "CannotShipContainerLogError",
	lifecycle.Drain:      "CannotShipContainerLogError",
	lifecycle.Disconnect: "ContainerNetworkingError",
	lifecycle.Discard:    "CannotRemoveContainerError",
}

// A causedError carries a cause that was known better where the error arose than its text can tell.
type causedError struct {
	err   error
	cause cause.Cause
}

func (e *causedError) Error() string { return e.err.Error() }
func (e *causedError) Unwrap() error { return e.err }

// reasonOf words an error as ECS does, whose agent passes on what a Docker engine says, with the cause behind it.
func reasonOf(v lifecycle.Verb, err error) string {
	words := wordsOf(v, err)
	return cause.Join(words, causeOf(words, err))
}

func wordsOf(v lifecycle.Verb, err error) string {
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

// causeOf is what the error comes down to: what is known from the error itself, else what its words tell.
func causeOf(words string, err error) cause.Cause {
	if known, ok := errors.AsType[*causedError](err); ok {
		return known.cause
	}
	if taken, ok := errors.AsType[*network.PortTakenError](err); ok {
		by := "somebody whom the node's agent cannot see: a process of another namespace, or another Havn that forwards it"
		if taken.Process != "" {
			by = "the process " + taken.Process
		}
		return cause.Cause{Code: cause.PortTaken, Words: fmt.Sprintf("host port %d/%s is taken on the node by %s", taken.Port, taken.Protocol, by)}
	}
	if resolving, ok := errors.AsType[*resolveError](err); ok {
		return pullCause(words, resolving.name, resolving.err)
	}
	if fetching, ok := errors.AsType[*fetchError](err); ok {
		return pullCause(words, fetching.name, fetching.err)
	}
	if errors.Is(err, unix.ENOSPC) {
		return cause.Cause{Code: cause.DiskFull, Words: "the node's disk is full"}
	}
	return cause.Of(words)
}

// pullCause names the registry and the image, which what a registry answers seldom does.
func pullCause(words, name string, err error) cause.Cause {
	host := registryOf(name)
	found := func(code cause.Code, format string, args ...any) cause.Cause {
		return cause.Cause{Code: code, Words: fmt.Sprintf(format, args...)}
	}
	unresolved, _ := errors.AsType[*net.DNSError](err)
	var unverified *tls.CertificateVerificationError
	var foreign x509.UnknownAuthorityError
	switch c := cause.Of(words); {
	case errors.Is(err, unix.ECONNREFUSED):
		return found(cause.RegistryRefused, "nobody listens at the registry's address %s", host)
	case unresolved != nil:
		return found(cause.RegistryUnknown, "the registry's name %s cannot be resolved", unresolved.Name)
	case errors.As(err, &unverified), errors.As(err, &foreign):
		return found(cause.RegistryTLS, "the certificate of the registry %s is not trusted by the node", host)
	case c.Code == cause.PullDenied:
		return found(c.Code, "the registry %s does not let this node pull %s, or does not say that there is none", host, familiar(name))
	case c.Code == cause.ImageNotFound:
		return found(c.Code, "the registry %s has no image %s", host, familiar(name))
	case c.Code == cause.ImageBroken:
		return found(c.Code, "what the registry %s sent of %s is not what its manifest says", host, familiar(name))
	case c.Code == cause.RegistryFailed, c.Code == cause.RegistryLimit, c.Code == cause.RegistryTimeout, c.Code == cause.RegistryTLS:
		return found(c.Code, "%s: %s", host, c.Words)
	default:
		return c
	}
}

func repository(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return reference.FamiliarName(named)
}

func registryOf(name string) string {
	named, err := reference.ParseDockerRef(name)
	if err != nil {
		return name
	}
	return reference.Domain(named)
}

// namePort says which of our tasks has a port that was found taken, where it is one of ours.
func (r *Runtime) namePort(ctx context.Context, err error) error {
	taken, ok := errors.AsType[*network.PortTakenError](err)
	if !ok || taken.Endpoint == "" {
		return err
	}
	by := "another task of this node"
	if record, lookup := r.containers.Get(ctx, taken.Endpoint); lookup == nil {
		by = fmt.Sprintf("container %s of task %s", record.Labels[labelContainer], TaskID(record.Labels[labelTask]))
	}
	return &causedError{err, cause.Cause{Code: cause.PortTaken,
		Words: fmt.Sprintf("host port %d/%s is taken on the node by %s", taken.Port, taken.Protocol, by)}}
}
