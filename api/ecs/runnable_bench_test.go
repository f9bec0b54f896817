package ecs

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// BenchmarkUnsupported is what each RunTask pays for looking through its task definition.
func BenchmarkUnsupported(b *testing.B) {
	d := types.TaskDefinition{Family: ptr("web"), NetworkMode: "bridge", ContainerDefinitions: []types.ContainerDefinition{{
		Name: ptr("web"), Image: ptr("web:1"), Memory: ptr[int32](64), Essential: ptr(true),
		PortMappings: []types.PortMapping{{ContainerPort: ptr[int32](80), HostPort: ptr[int32](0), Protocol: "tcp"}},
	}}}
	for b.Loop() {
		if len(unsupportedInDefinition(d)) > 0 {
			b.Fatal("unsupported")
		}
	}
}
