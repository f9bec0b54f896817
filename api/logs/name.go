package logs

import (
	"strings"

	"havn/logstore"
	"havn/state"
)

// arn names a resource of CloudWatch Logs in our region and account.
func (s *Server) arn(resource string) string {
	return "arn:" + partition(s.Region) + ":logs:" + s.Region + ":" + s.Account + ":" + resource
}

func partition(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}

// groupARN is the ARN of a group. CloudWatch Logs writes a second form, for policies, with :* behind it.
func (s *Server) groupARN(name string) string { return s.arn("log-group:" + name) }

func (s *Server) streamARN(group, name string) string {
	return s.arn("log-group:" + group + ":log-stream:" + name)
}

// group finds what an identifier names: a group's name, or its ARN in either form.
func (s *Server) group(src state.Source, identifier string) (state.LogGroup, error) {
	name := identifier
	if strings.HasPrefix(identifier, "arn:") {
		var ours bool
		if name, ours = strings.CutPrefix(strings.TrimSuffix(identifier, ":*"), s.groupARN("")); !ours {
			return state.LogGroup{}, invalid("%s is not the ARN of a log group of account %s in %s.", identifier, s.Account, s.Region)
		}
	}
	g, ok := state.LogGroups.Get(src, name)
	if !ok {
		return g, groupNotFound()
	}
	return g, nil
}

// named finds a group in a request that has a member for its name and one for its identifier.
func (s *Server) named(src state.Source, name, identifier *string) (state.LogGroup, error) {
	if (name == nil) == (identifier == nil) {
		return state.LogGroup{}, invalid("You must include either logGroupIdentifier or logGroupName, but not both.")
	}
	if name != nil {
		identifier = name
	}
	return s.group(src, *identifier)
}

func stream(src state.Source, g state.LogGroup, name string) (state.LogStream, error) {
	st, ok := state.LogStreams.Get(src, state.LogStreamKey(g.ID, name))
	if !ok {
		return st, streamNotFound()
	}
	return st, nil
}

// stored is the ID of a group or a stream in the store of events.
func stored(id string) logstore.ID {
	stored, err := logstore.ParseID(id)
	if err != nil {
		panic(err) //nolint:forbidigo // all come from Tx.NewID
	}
	return stored
}
