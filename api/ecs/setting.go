package ecs

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/state"
	"havn/wire"
)

// maxSettingsPage is how many settings a page of ListAccountSettings has at most.
const maxSettingsPage = 10

// accountSetting is what may be set, and what holds where nobody has set it.
type accountSetting struct {
	values  []string
	initial string
	// managed: set by AWS, and by no user.
	managed bool
}

var (
	onOff   = []string{"on", "off"}
	enabled = []string{"enabled", "disabled"}
)

// accountSettings are the settings there are. Long ARNs are the only ones that Havn knows, so the three
// settings for them cannot be turned off; AWS has stopped to offer that as well.
var accountSettings = map[types.SettingName]accountSetting{
	types.SettingNameServiceLongArnFormat:            {values: enabled[:1], initial: "enabled"},
	types.SettingNameTaskLongArnFormat:               {values: enabled[:1], initial: "enabled"},
	types.SettingNameContainerInstanceLongArnFormat:  {values: enabled[:1], initial: "enabled"},
	types.SettingNameAwsvpcTrunking:                  {values: enabled, initial: "disabled"},
	types.SettingNameContainerInsights:               {values: []string{"enabled", "disabled", "enhanced"}, initial: "disabled"},
	types.SettingNameFargateFipsMode:                 {values: enabled, initial: "disabled"},
	types.SettingNameTagResourceAuthorization:        {values: onOff, initial: "on"},
	types.SettingNameFargateTaskRetirementWaitPeriod: {values: []string{"0", "7", "14"}, initial: "7"},
	types.SettingNameGuardDutyActivate:               {values: onOff, initial: "off", managed: true},
	types.SettingNameDefaultLogDriverMode:            {values: []string{"blocking", "non-blocking"}, initial: "non-blocking"},
	types.SettingNameFargateEventWindows:             {values: enabled, initial: "disabled"},
}

// rootARN is the principal whose settings are the account's defaults.
func (s *Server) rootARN() string {
	return "arn:" + partition(s.Region) + ":iam::" + s.Account + ":root"
}

// PutAccountSetting sets a setting of one principal: the one named, or the caller.
func (s *Server) PutAccountSetting(ctx context.Context, in *ecs.PutAccountSettingInput) (*ecs.PutAccountSettingOutput, error) {
	principal, err := s.principal(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	set, err := s.putSetting(ctx, principal, in.Name, deref(in.Value))
	return &ecs.PutAccountSettingOutput{Setting: set}, err
}

// PutAccountSettingDefault sets what holds for every principal that has not set it for itself.
func (s *Server) PutAccountSettingDefault(ctx context.Context, in *ecs.PutAccountSettingDefaultInput) (*ecs.PutAccountSettingDefaultOutput, error) {
	set, err := s.putSetting(ctx, s.rootARN(), in.Name, deref(in.Value))
	return &ecs.PutAccountSettingDefaultOutput{Setting: set}, err
}

func (s *Server) putSetting(ctx context.Context, principal string, name types.SettingName, value string) (*types.Setting, error) {
	known, err := settingNamed(name)
	if err != nil {
		return nil, err
	}
	if known.managed {
		return nil, invalid("The setting %s is managed by AWS and cannot be changed.", name)
	}
	if !slices.Contains(known.values, value) {
		return nil, invalid("Invalid value for the setting %s: %s. Valid values: %s", name, value, strings.Join(known.values, ", "))
	}
	record := state.AccountSetting{Name: string(name), Value: value, PrincipalARN: principal}
	err = s.Store.Update(ctx, func(tx *state.Tx) error {
		state.AccountSettings.Put(tx, record)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return ptr(describeSetting(record)), nil
}

// DeleteAccountSetting forgets what a principal has set for itself and answers with what was set.
func (s *Server) DeleteAccountSetting(ctx context.Context, in *ecs.DeleteAccountSettingInput) (*ecs.DeleteAccountSettingOutput, error) {
	principal, err := s.principal(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	if _, err := settingNamed(in.Name); err != nil {
		return nil, err
	}
	out := &ecs.DeleteAccountSettingOutput{}
	return out, s.Store.Update(ctx, func(tx *state.Tx) error {
		out.Setting = ptr(s.effectiveSetting(tx, principal, in.Name))
		state.AccountSettings.Delete(tx, principal+"|"+string(in.Name))
		return nil
	})
}

// ListAccountSettings lists what a principal has set for itself, or, where effective settings are asked
// for, every setting with the value that holds for the principal.
func (s *Server) ListAccountSettings(ctx context.Context, in *ecs.ListAccountSettingsInput) (*ecs.ListAccountSettingsOutput, error) {
	principal, err := s.principal(ctx, in.PrincipalArn)
	if err != nil {
		return nil, err
	}
	if in.Name != "" {
		if _, err := settingNamed(in.Name); err != nil {
			return nil, err
		}
	} else if in.Value != nil {
		return nil, invalid("A setting name must be specified when filtering by value.")
	}
	var settings []types.Setting
	s.Store.View(func(r *state.Reader) {
		for name := range accountSettings {
			set := s.effectiveSetting(r, principal, name)
			if !in.EffectiveSettings {
				own, ok := state.AccountSettings.Get(r, principal+"|"+string(name))
				if !ok {
					continue
				}
				set = describeSetting(own)
			}
			if in.Name != "" && name != in.Name || in.Value != nil && deref(set.Value) != *in.Value {
				continue
			}
			settings = append(settings, set)
		}
	})
	key := func(s types.Setting) string { return string(s.Name) }
	slices.SortFunc(settings, func(a, b types.Setting) int { return strings.Compare(key(a), key(b)) })
	request := pageRequest{Token: in.NextToken, Limit: maxSettingsPage, Query: principal}
	if in.MaxResults != 0 {
		request.Max = &in.MaxResults
	}
	settings, next, err := page(settings, key, request)
	if err != nil {
		return nil, err
	}
	return &ecs.ListAccountSettingsOutput{Settings: listed(settings), NextToken: next}, nil
}

// effectiveSetting is what holds for a principal: its own value, the account's, or the initial one.
func (s *Server) effectiveSetting(src state.Source, principal string, name types.SettingName) types.Setting {
	for _, who := range []string{principal, s.rootARN()} {
		if set, ok := state.AccountSettings.Get(src, who+"|"+string(name)); ok {
			set.PrincipalARN = principal
			return describeSetting(set)
		}
	}
	return describeSetting(state.AccountSetting{Name: string(name), Value: accountSettings[name].initial, PrincipalARN: principal})
}

func describeSetting(set state.AccountSetting) types.Setting {
	kind := types.SettingTypeUser
	if accountSettings[types.SettingName(set.Name)].managed {
		kind = types.SettingTypeAwsManaged
	}
	return types.Setting{Name: types.SettingName(set.Name), Value: ptr(set.Value), PrincipalArn: present(set.PrincipalARN), Type: kind}
}

func settingNamed(name types.SettingName) (accountSetting, error) {
	known, ok := accountSettings[name]
	if !ok {
		return known, invalid("Invalid setting name: %s", name)
	}
	return known, nil
}

// principal is whose settings are meant: those of the caller where nobody is named.
func (s *Server) principal(ctx context.Context, named *string) (string, error) {
	arn := deref(named)
	if arn == "" {
		return wire.Caller(ctx).ARN, nil
	}
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || parts[5] == "" {
		return "", invalid("Invalid principal arn: %s", arn)
	}
	if parts[4] != s.Account {
		return "", invalid("Invalid identifier: Identifier is for %s. Your accountId is %s", parts[4], s.Account)
	}
	return arn, nil
}
