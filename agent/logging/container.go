package logging

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"

	units "github.com/docker/go-units"

	"havn/agent/logging/jsonfile"
	"havn/logoption"
	"havn/protocol"
)

// Container is what logging needs to know of a container.
type Container struct {
	ID, Name, Image     string
	ImageID             string // digest of the image's configuration, if the option tag asks for it; empty if its name is removed
	TaskARN, ClusterARN string
	Family, Version     string // of the task definition
	Labels, Environment map[string]string
	Config              *protocol.LogConfig // nil: none was asked for
	Log, Cursor         string              // paths: the newest file of the spool, and how far it is shipped
}

// What holds where a container asks for nothing: 100 MiB of its output, as much as Docker's driver local keeps.
const (
	defaultSize  = 20 << 20
	defaultFiles = 5
)

// A spool of a driver that ships has so many full files beside the one that is written, and they hold max-buffer-size
// together, which is 10m where nothing is said.
const (
	spoolFiles    = 4
	defaultBuffer = 10 << 20
	leastBuffer   = 64 << 10
)

// Driver is the driver's name.
func (c Container) Driver() string { return c.Config.Driver() }

// Ships reports whether the driver has a destination beyond the spool.
func (c Container) Ships() bool { return c.Config.Ships() }

func (c Container) option(name string) string {
	if c.Config == nil {
		return ""
	}
	return c.Config.Config[name]
}

// dockerName is the container's name as Docker's drivers tell it where the ECS agent runs containers.
func (c Container) dockerName() string { return protocol.DockerName(c.Family, c.Version, c.Name, c.ID) }

// flag is an option that is true or false, and what it is without saying.
func (c Container) flag(name string, otherwise bool) (bool, error) {
	text := c.option(name)
	if text == "" {
		return otherwise, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("the log option %s %q is neither true nor false", name, text)
	}
	return on, nil
}

// Spool is how the shim writes the container's output.
//
// Of json-file, the options max-size, max-file and compress mean what they mean to Docker. Every other driver's spool
// holds max-buffer-size. With the mode non-blocking, which is ECS's default, the oldest of it is dropped when there is
// more; with the mode blocking, the container's write waits until the destination has taken the oldest.
func (c Container) Spool() (jsonfile.Options, error) {
	o := jsonfile.Options{Path: c.Log}
	var err error
	switch {
	case c.Config == nil || c.Config.Type == "":
		o.MaxSize, o.MaxFile = defaultSize, defaultFiles
	case c.Ships():
		size := int64(defaultBuffer)
		if text := c.option("max-buffer-size"); text != "" {
			if size, err = units.RAMInBytes(text); err != nil {
				return o, fmt.Errorf("cannot read the log option max-buffer-size: %w", err)
			}
		}
		o.MaxSize, o.MaxFile = max(size, leastBuffer)/spoolFiles, spoolFiles+1
		o.Hold = c.holds()
	default:
		if err := c.jsonFile(&o); err != nil {
			return o, err
		}
	}
	o.Attrs, err = c.attributes()
	return o, err
}

// holds reports whether the container's write waits until there is room in its spool.
func (c Container) holds() bool { return c.Ships() && c.option("mode") == "blocking" }

func (c Container) jsonFile(o *jsonfile.Options) (err error) {
	if text := c.option("max-size"); text != "" && text != "-1" {
		if o.MaxSize, err = units.RAMInBytes(text); err != nil || o.MaxSize <= 0 {
			return fmt.Errorf("the log option max-size %q is no size", text)
		}
	}
	o.MaxFile = 1
	if text := c.option("max-file"); text != "" {
		if o.MaxFile, err = strconv.Atoi(text); err != nil || o.MaxFile < 1 || o.MaxFile > logoption.MaxFiles {
			return fmt.Errorf("the log option max-file %q is no number from 1 to %d", text, logoption.MaxFiles)
		}
	}
	if text := c.option("compress"); text != "" {
		if o.Compress, err = strconv.ParseBool(text); err != nil {
			return fmt.Errorf("the log option compress %q is neither true nor false", text)
		}
	}
	if o.Compress && (o.MaxFile == 1 || o.MaxSize == 0) {
		return fmt.Errorf("the log option compress needs max-size, and max-file of more than 1")
	}
	return nil
}

// attributes are what the options labels, env and tag add to each line, as a JSON object; nil for nothing.
// Docker documentation, "Customize log driver output".
func (c Container) attributes() (json.RawMessage, error) {
	extra, err := c.extra()
	if err != nil {
		return nil, err
	}
	if c.option("tag") != "" {
		if extra["tag"], err = c.tag(""); err != nil {
			return nil, err
		}
	}
	if len(extra) == 0 {
		return nil, nil
	}
	return json.Marshal(extra)
}

// extra are the container's labels and environment variables that the options name.
func (c Container) extra() (map[string]string, error) {
	extra := map[string]string{}
	for _, kind := range []struct {
		option string
		values map[string]string
	}{{"labels", c.labels()}, {"env", c.Environment}} {
		for _, name := range strings.Split(c.option(kind.option), ",") {
			if value, ok := kind.values[name]; ok {
				extra[name] = value
			}
		}
		if text := c.option(kind.option + "-regex"); text != "" {
			pattern, err := regexp.Compile(text)
			if err != nil {
				return nil, fmt.Errorf("cannot read the log option %s-regex: %w", kind.option, err)
			}
			for name, value := range kind.values {
				if pattern.MatchString(name) {
					extra[name] = value
				}
			}
		}
	}
	return extra, nil
}

// labels are the user's, and those that ECS gives every container. Amazon ECS developer guide, "Container labels".
func (c Container) labels() map[string]string {
	all := map[string]string{
		"com.amazonaws.ecs.cluster": c.ClusterARN, "com.amazonaws.ecs.container-name": c.Name, "com.amazonaws.ecs.task-arn": c.TaskARN,
		"com.amazonaws.ecs.task-definition-family": c.Family, "com.amazonaws.ecs.task-definition-version": c.Version,
	}
	maps.Copy(all, c.Labels)
	return all
}

// tag is the option of that name, filled in; without the option, the first 12 digits of the container's ID, unless
// otherwise says more. Docker documentation, "Customize log driver output".
func (c Container) tag(otherwise string) (string, error) {
	text := c.option("tag")
	if text == "" {
		text = otherwise
	}
	if text == "" {
		text = "{{.ID}}"
	}
	filled, err := logoption.FillTag(text, c.tagField)
	if err != nil {
		return "", fmt.Errorf("cannot read the log option tag: %w", err)
	}
	return filled, nil
}

func (c Container) tagField(name string) string {
	switch name {
	case "ID":
		return c.ID[:min(12, len(c.ID))]
	case "FullID":
		return c.ID
	case "Name":
		return c.Name
	case "ImageID":
		digits := strings.TrimPrefix(c.ImageID, "sha256:")
		return digits[:min(12, len(digits))]
	case "ImageFullID":
		return c.ImageID
	case "ImageName":
		return c.Image
	case "DaemonName":
		return "havn"
	}
	return ""
}
