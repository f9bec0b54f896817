package main

import (
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// client is an ECS client of the running server, as root. The commands have no private way in: they call
// the same API as everybody.
func (h home) client() (*ecs.Client, serverInfo, error) {
	info, err := h.server()
	if err != nil {
		return nil, info, err
	}
	key, err := h.readRootKey()
	if err != nil {
		return nil, info, err
	}
	return ecs.New(ecs.Options{
		BaseEndpoint: aws.String(info.Endpoint),
		Region:       info.Region,
		Credentials:  credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.SecretAccessKey, ""),
	}), info, nil
}
