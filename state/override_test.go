package state

import (
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

func TestOverridden(t *testing.T) {
	pair := func(name, value string) types.KeyValuePair {
		return types.KeyValuePair{Name: aws.String(name), Value: aws.String(value)}
	}
	spec := func() types.TaskDefinition {
		return types.TaskDefinition{Cpu: aws.String("256"), Memory: aws.String("512"), ContainerDefinitions: []types.ContainerDefinition{
			{Name: aws.String("web"), Command: []string{"a"}, Cpu: 10, Memory: aws.Int32(64), MemoryReservation: aws.Int32(32),
				Environment: []types.KeyValuePair{pair("A", "1"), pair("B", "2")}},
			{Name: aws.String("other"), Cpu: 1},
		}}
	}
	original := spec()
	if got := Overridden(original, types.TaskOverride{}); !reflect.DeepEqual(got, spec()) {
		t.Errorf("nothing is overridden, and it is %+v", got)
	}
	want := spec()
	want.Cpu = aws.String("1024")
	web := &want.ContainerDefinitions[0]
	web.Command, web.Cpu, web.Memory = []string{"b", "c"}, 0, aws.Int32(128)
	web.Environment = []types.KeyValuePair{pair("A", "1"), pair("B", "3"), pair("C", "4")}
	got := Overridden(original, types.TaskOverride{Cpu: aws.String("1024"), ContainerOverrides: []types.ContainerOverride{
		{Name: aws.String("web"), Command: []string{"b", "c"}, Cpu: aws.Int32(0), Memory: aws.Int32(128),
			Environment: []types.KeyValuePair{pair("B", "3"), pair("C", "4")}},
		{Name: aws.String("nobody"), Cpu: aws.Int32(7)},
	}})
	if !reflect.DeepEqual(got, want) {
		t.Errorf("overridden is %+v, want %+v", got, want)
	}
	if !reflect.DeepEqual(original, spec()) {
		t.Errorf("the definition itself has changed: %+v", original)
	}
}
