package logs

import (
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// The sentences are those of CloudWatch Logs where they are known.

func invalid(format string, args ...any) error {
	return &types.InvalidParameterException{Message: ptr(fmt.Sprintf(format, args...))}
}

// unsupported refuses what CloudWatch Logs has and Havn does not do, by its name. CloudWatch Logs declares no
// exception of its own for it.
func unsupported(what string) error {
	return invalid("Havn does not support %s of CloudWatch Logs.", what)
}

func groupNotFound() error {
	return &types.ResourceNotFoundException{Message: ptr("The specified log group does not exist.")}
}

func streamNotFound() error {
	return &types.ResourceNotFoundException{Message: ptr("The specified log stream does not exist.")}
}

func exists(what string) error {
	return &types.ResourceAlreadyExistsException{Message: ptr("The specified " + what + " already exists")}
}

func unavailable(err error) error {
	return &types.ServiceUnavailableException{Message: ptr(err.Error())}
}

func ptr[T any](v T) *T { return &v }

// deref is what p points to, or the zero value.
func deref[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}
