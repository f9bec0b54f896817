// Package sts is what the AWS Security Token Service promises, as far as Havn keeps it: who is asking.
//
// Clients call GetCallerIdentity to see whether their endpoint and credentials work. There are no roles to
// assume yet, so every other operation is answered as one that does not exist here.
package sts

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"havn/wire"
)

// API returns STS as wire serves it.
func API() *wire.API {
	api := &wire.API{
		Name:       "sts",
		Dialect:    wire.Query,
		Version:    "2011-06-15",
		Namespace:  "https://sts.amazonaws.com/doc/2011-06-15/",
		Operations: operations,
		Unsigned:   unsigned,
		Shapes:     shapes,
	}
	wire.Handle(api, getCallerIdentity)
	return api
}

func getCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	caller := wire.Caller(ctx)
	return &sts.GetCallerIdentityOutput{Account: &caller.Account, Arn: &caller.ARN, UserId: &caller.UserID}, nil
}
