package sts_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"havn/api/sts"
	"havn/wire"
)

func client(t *testing.T) *sdk.Client {
	const account = "123456789012"
	h := httptest.NewServer(wire.NewServer(wire.Config{
		APIs:    []*wire.API{sts.API()},
		Region:  "us-east-1",
		Account: account,
		Credentials: func(_ context.Context, key, _ string) (wire.Credential, error) {
			return wire.Credential{Secret: "secret", Principal: wire.Principal{
				ARN: "arn:aws:iam::" + account + ":user/alice", UserID: key, Account: account}}, nil
		},
	}))
	t.Cleanup(h.Close)
	return sdk.New(sdk.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(h.URL), HTTPClient: h.Client(), Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("AKIAALICE", "secret", ""),
	})
}

func TestTheCallerIsToldWhoItIs(t *testing.T) {
	out, err := client(t).GetCallerIdentity(context.Background(), &sdk.GetCallerIdentityInput{})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Account != "123456789012" || *out.Arn != "arn:aws:iam::123456789012:user/alice" || *out.UserId != "AKIAALICE" {
		t.Errorf("account %s, ARN %s, user %s", *out.Account, *out.Arn, *out.UserId)
	}
}

func TestOtherOperationsAreHonestlyRefused(t *testing.T) {
	_, err := client(t).GetSessionToken(context.Background(), &sdk.GetSessionTokenInput{})
	var coded smithy.APIError
	if !errors.As(err, &coded) || coded.ErrorCode() == "" || coded.ErrorFault() == smithy.FaultServer {
		t.Errorf("GetSessionToken: %v", err)
	}
}
