package elbv2_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"havn/state"
)

// However many make load balancers of one name at once, there is one; and none has another's address.
func TestRivalsMeet(t *testing.T) {
	w := newWorld(t, time.Now)
	const rivals = 8
	var all sync.WaitGroup
	made := make([]string, rivals)
	for i := range rivals {
		all.Go(func() {
			out, err := w.CreateLoadBalancer(context.Background(), &sdk.CreateLoadBalancerInput{Name: aws.String("same")})
			if err != nil {
				t.Error(err)
				return
			}
			made[i] = *out.LoadBalancers[0].LoadBalancerArn
			if _, err := w.CreateLoadBalancer(context.Background(), &sdk.CreateLoadBalancerInput{Name: aws.String(fmt.Sprint("other", i))}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, arn := range made {
		if arn != made[0] {
			t.Errorf("%s and %s", arn, made[0])
		}
	}
	addresses := map[string]string{}
	w.store.View(func(r *state.Reader) {
		for b := range state.LoadBalancers.All(r) {
			if other := addresses[b.Address]; other != "" || b.Address == "" {
				t.Errorf("%s and %s have the address %q", b.Name, other, b.Address)
			}
			addresses[b.Address] = b.Name
		}
	})
	if len(addresses) != rivals+1 {
		t.Errorf("%d load balancers", len(addresses))
	}
}

// The pages of a list are all of it, each item once, in one order.
func TestPagesAreTheWhole(t *testing.T) {
	w := newWorld(t, time.Now)
	const groups = 7
	for i := range groups {
		_, err := w.CreateTargetGroup(t.Context(), &sdk.CreateTargetGroupInput{Name: aws.String(fmt.Sprint("g", i)),
			Protocol: types.ProtocolEnumHttp, Port: aws.Int32(80)})
		if err != nil {
			t.Fatal(err)
		}
	}
	pages := sdk.NewDescribeTargetGroupsPaginator(w, &sdk.DescribeTargetGroupsInput{PageSize: aws.Int32(3)})
	var names []string
	for pages.HasMorePages() {
		out, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range out.TargetGroups {
			names = append(names, *g.TargetGroupName)
		}
	}
	if got := fmt.Sprint(names); got != "[g0 g1 g2 g3 g4 g5 g6]" {
		t.Error(got)
	}
}
