package logs

import (
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"havn/state"
	"havn/wire"
)

// describeLimit is how many items a page of DescribeLogGroups and DescribeLogStreams has, by default and at most.
const describeLimit = 50

// standard is the only class of group that there is here.
const standard = types.LogGroupClassStandard

// CreateLogGroup makes an empty group that keeps its events for ever.
func (s *Server) CreateLogGroup(ctx context.Context, in *cloudwatchlogs.CreateLogGroupInput) (*cloudwatchlogs.CreateLogGroupOutput, error) {
	if deref(in.KmsKeyId) != "" {
		return nil, unsupported("kmsKeyId, encryption with a key of yours,")
	}
	if in.LogGroupClass != "" && in.LogGroupClass != standard {
		return nil, unsupported("the log group class " + string(in.LogGroupClass))
	}
	if err := checkTags(in.Tags); err != nil {
		return nil, err
	}
	name := *in.LogGroupName
	if strings.HasPrefix(name, "aws/") {
		return nil, invalid("Log groups starting with aws/ are reserved for AWS.")
	}
	return nil, s.Store.Update(ctx, func(tx *state.Tx) error {
		if _, ok := state.LogGroups.Get(tx, name); ok {
			return exists("log group")
		}
		state.LogGroups.Put(tx, state.LogGroup{
			Name: name, ID: tx.NewID(), Protected: deref(in.DeletionProtectionEnabled), Tags: in.Tags, CreatedAt: wire.Now(ctx),
		})
		return nil
	})
}

// DeleteLogGroup deletes a group with its streams and events. They are gone at once; the disk is free some time later.
func (s *Server) DeleteLogGroup(ctx context.Context, in *cloudwatchlogs.DeleteLogGroupInput) (*cloudwatchlogs.DeleteLogGroupOutput, error) {
	return nil, s.Store.Update(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, *in.LogGroupName)
		if err != nil {
			return err
		}
		if g.Protected {
			return &types.ValidationException{Message: ptr("The log group has deletion protection. Disable it first, with PutLogGroupDeletionProtection.")}
		}
		state.LogGroups.Delete(tx, g.Name)
		return nil
	})
}

// changeGroup writes a group anew.
func (s *Server) changeGroup(ctx context.Context, identifier string, change func(*state.LogGroup) error) error {
	return s.Store.Update(ctx, func(tx *state.Tx) error {
		g, err := s.group(tx, identifier)
		if err != nil {
			return err
		}
		if err := change(&g); err != nil {
			return err
		}
		state.LogGroups.Put(tx, g)
		return nil
	})
}

// PutLogGroupDeletionProtection says whether DeleteLogGroup is refused.
func (s *Server) PutLogGroupDeletionProtection(ctx context.Context, in *cloudwatchlogs.PutLogGroupDeletionProtectionInput) (*cloudwatchlogs.PutLogGroupDeletionProtectionOutput, error) {
	return nil, s.changeGroup(ctx, *in.LogGroupIdentifier, func(g *state.LogGroup) error {
		g.Protected = *in.DeletionProtectionEnabled
		return nil
	})
}

// retentions are the days that a retention may be of (PutRetentionPolicy, retentionInDays).
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// PutRetentionPolicy says for how many days a group keeps its events.
func (s *Server) PutRetentionPolicy(ctx context.Context, in *cloudwatchlogs.PutRetentionPolicyInput) (*cloudwatchlogs.PutRetentionPolicyOutput, error) {
	days := *in.RetentionInDays
	if !slices.Contains(retentions, days) {
		return nil, invalid("Invalid retention value. Possible values are: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, and 3653.")
	}
	return nil, s.changeGroup(ctx, *in.LogGroupName, func(g *state.LogGroup) error {
		g.RetentionDays = days
		return nil
	})
}

// DeleteRetentionPolicy makes a group keep its events for ever.
func (s *Server) DeleteRetentionPolicy(ctx context.Context, in *cloudwatchlogs.DeleteRetentionPolicyInput) (*cloudwatchlogs.DeleteRetentionPolicyOutput, error) {
	return nil, s.changeGroup(ctx, *in.LogGroupName, func(g *state.LogGroup) error {
		g.RetentionDays = 0
		return nil
	})
}

// DescribeLogGroups describes groups in the order of their names.
func (s *Server) DescribeLogGroups(_ context.Context, in *cloudwatchlogs.DescribeLogGroupsInput) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	prefix, pattern := deref(in.LogGroupNamePrefix), deref(in.LogGroupNamePattern)
	if prefix != "" && pattern != "" {
		return nil, invalid("LogGroupNamePrefix and LogGroupNamePattern are mutually exclusive parameters. Specify only one of them.")
	}
	if len(in.LogGroupIdentifiers) > 0 && (prefix != "" || pattern != "") {
		return nil, invalid("LogGroupIdentifiers cannot be specified together with LogGroupNamePrefix or LogGroupNamePattern.")
	}
	if err := s.checkAccounts(in.IncludeLinkedAccounts, in.AccountIdentifiers); err != nil {
		return nil, err
	}
	p, err := newPager[state.LogGroup](in.Limit, describeLimit, in.NextToken,
		fingerprint(prefix, pattern, in.LogGroupClass, in.LogGroupIdentifiers))
	if err != nil {
		return nil, err
	}
	matches := func(g state.LogGroup) bool {
		return strings.HasPrefix(g.Name, prefix) && strings.Contains(strings.ToLower(g.Name), strings.ToLower(pattern)) &&
			(in.LogGroupClass == "" || in.LogGroupClass == standard)
	}
	if len(in.LogGroupIdentifiers) > 0 {
		var names []string
		for _, identifier := range in.LogGroupIdentifiers {
			names = append(names, strings.TrimPrefix(identifier, s.groupARN("")))
		}
		matches = func(g state.LogGroup) bool { return slices.Contains(names, g.Name) }
	}
	s.Store.View(func(r *state.Reader) { offerGroups(r, p, matches) })

	out := &cloudwatchlogs.DescribeLogGroupsOutput{LogGroups: []types.LogGroup{}, NextToken: p.token()}
	for _, g := range p.items {
		bytes, err := s.Events.Bytes(stored(g.ID))
		if err != nil {
			return nil, err
		}
		described := types.LogGroup{
			LogGroupName: ptr(g.Name), LogGroupArn: ptr(s.groupARN(g.Name)), Arn: ptr(s.groupARN(g.Name) + ":*"),
			LogGroupClass: standard, CreationTime: milliseconds(g.CreatedAt), StoredBytes: ptr(bytes), MetricFilterCount: ptr(int32(0)),
			DeletionProtectionEnabled: ptr(g.Protected),
		}
		if g.RetentionDays > 0 {
			described.RetentionInDays = ptr(g.RetentionDays)
		}
		out.LogGroups = append(out.LogGroups, described)
	}
	return out, nil
}

func offerGroups(r *state.Reader, p *pager[state.LogGroup], matches func(state.LogGroup) bool) {
	for g := range state.LogGroups.All(r) {
		if matches(g) && !p.offer(g.Name, func() state.LogGroup { return g }) {
			return
		}
	}
}

// checkAccounts refuses to look into other accounts: there are none.
func (s *Server) checkAccounts(linked *bool, accounts []string) error {
	if deref(linked) {
		return unsupported("includeLinkedAccounts, monitoring across accounts,")
	}
	for _, account := range accounts {
		if account != s.Account {
			return invalid("Account %s is not linked with account %s.", account, s.Account)
		}
	}
	return nil
}

// listLimit is how many groups a page of ListLogGroups has by default.
const listLimit = 50

// ListLogGroups lists groups whose names match, in the order of their names.
func (s *Server) ListLogGroups(_ context.Context, in *cloudwatchlogs.ListLogGroupsInput) (*cloudwatchlogs.ListLogGroupsOutput, error) {
	switch {
	case len(in.DataSources) > 0:
		return nil, unsupported("dataSources")
	case len(in.FieldIndexNames) > 0:
		return nil, unsupported("fieldIndexNames")
	case len(in.LogGroupTags) > 0:
		return nil, unsupported("logGroupTags")
	}
	if err := s.checkAccounts(in.IncludeLinkedAccounts, in.AccountIdentifiers); err != nil {
		return nil, err
	}
	// The model's pattern has only letters, ^ and | in it, so it is a regular expression of ours too, but for the dot.
	pattern, err := regexp.Compile(strings.ReplaceAll(deref(in.LogGroupNamePattern), ".", `\.`))
	if err != nil {
		return nil, invalid("logGroupNamePattern: %v", err)
	}
	p, err := newPager[state.LogGroup](in.Limit, listLimit, in.NextToken, fingerprint(in.LogGroupNamePattern, in.LogGroupClass))
	if err != nil {
		return nil, err
	}
	s.Store.View(func(r *state.Reader) {
		offerGroups(r, p, func(g state.LogGroup) bool {
			return pattern.MatchString(g.Name) && (in.LogGroupClass == "" || in.LogGroupClass == standard)
		})
	})
	out := &cloudwatchlogs.ListLogGroupsOutput{LogGroups: []types.LogGroupSummary{}, NextToken: p.token()}
	for _, g := range p.items {
		out.LogGroups = append(out.LogGroups, types.LogGroupSummary{
			LogGroupName: ptr(g.Name), LogGroupArn: ptr(s.groupARN(g.Name)), LogGroupClass: standard,
		})
	}
	return out, nil
}
