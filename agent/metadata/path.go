package metadata

import "strings"

// request is what a path asks for.
type request struct {
	version version
	id      string
	what    string // one of those below
	// more: of associations the type and perhaps the name; of a fault its name and the action.
	more []string
}

// What can be asked for, in the words of ECS's agent, which are part of its errors.
const (
	ofContainer    = "container metadata"
	ofTask         = "task metadata"
	ofTaskAndTags  = "task metadata with tags"
	ofUse          = "container stats"
	ofTaskUse      = "task stats"
	ofAssociations = "container associations"
	ofProtection   = "task protection"
	ofFault        = "fault"
	ofVersionTwo   = "version 2"
)

// maxPath is how long a path may be, in bytes: more than any that is known.
const maxPath = 512

// parsePath takes a path apart. What is not known is false.
func parsePath(path string) (q request, ok bool) {
	parts := strings.Split(path, "/")
	if len(path) > maxPath || len(parts) < 3 || parts[0] != "" {
		return q, false
	}
	q.id = parts[2]
	rest := strings.Join(parts[3:], "/")
	switch parts[1] {
	case "v2":
		q = request{what: ofVersionTwo}
		switch parts[2] {
		case "metadata", "stats":
			return q, len(parts) <= 4
		case "metadataWithTags":
			return q, len(parts) == 3
		}
		return q, false
	case "v3":
		q.version = v3
	case "v4":
		q.version = v4
	case "api":
		if q.what = ofProtection; rest == "task-protection/v1/state" {
			return q, true
		}
		q.what = ofFault
		if fault := parts[3:]; len(fault) == 4 && fault[0] == "fault" && fault[1] == "v1" {
			q.more = fault[2:]
			return q, true
		}
		return q, false
	default:
		return q, false
	}
	if len(parts) == 3 {
		q.what = ofContainer
		return q, q.id != ""
	}
	switch rest {
	case "task":
		q.what = ofTask
	case "taskWithTags":
		q.what = ofTaskAndTags
	case "stats":
		q.what = ofUse
	case "task/stats":
		q.what = ofTaskUse
	default:
		q.what, q.more = ofAssociations, parts[4:]
		return q, q.id != "" && parts[3] == "associations" && (len(q.more) == 1 || len(q.more) == 2) && q.more[0] != ""
	}
	return q, q.id != ""
}

// failure is what ECS's agent says of a request whose id it does not know.
func (q request) failure() string {
	v := map[version]string{v3: "V3", v4: "V4"}[q.version]
	docker := "unable to get container ID from request: unable to get docker ID from v3 endpoint ID: " + q.id
	arn := "unable to get task arn from request: unable to get task Arn from v3 endpoint ID: " + q.id
	switch q.what {
	case ofContainer, ofAssociations:
		return v + " " + q.what + " handler: " + docker
	case ofTaskAndTags:
		return v + " " + ofTask + " handler: " + arn
	}
	return v + " " + q.what + " handler: " + arn
}
