package ecs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"havn/state"
)

func testServer() *Server {
	return NewServer(Config{Region: "us-east-1", Account: "000000000000"})
}

// An ARN that is built is read back as what it was built of.
func TestARNsAreReadAsWritten(t *testing.T) {
	s := testServer()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-zA-Z0-9_-]{1,40}`)
		cluster, id, revision := name.Draw(t, "cluster"), name.Draw(t, "id"), rapid.Int32Min(1).Draw(t, "revision")
		if got, err := s.clusterName(ptr(s.clusterARN(cluster))); err != nil || got != cluster {
			t.Fatalf("cluster %q is read as %q, %v", cluster, got, err)
		}
		for _, ref := range []string{id, s.taskARN(cluster, id), s.arn(kindTask, id)} {
			if got, err := s.member(kindTask, cluster, ref); err != nil || got != s.taskARN(cluster, id) {
				t.Fatalf("task %q is read as %q, %v", ref, got, err)
			}
		}
		for _, ref := range []string{fmt.Sprintf("%s:%d", id, revision), s.definitionARN(id, revision)} {
			if family, n, err := s.definitionName(ref); err != nil || family != id || n != revision {
				t.Fatalf("definition %q is read as %s, %d, %v", ref, family, n, err)
			}
		}
		if _, err := s.member(kindInstance, cluster, s.taskARN(cluster, id)); err == nil {
			t.Fatal("a task's ARN is taken for a container instance's")
		}
		if _, err := s.member(kindTask, cluster, s.taskARN(cluster+"x", id)); err == nil {
			t.Fatal("a task of another cluster is taken for one of this")
		}
	})
}

// No reference, however odd, does more than be refused with an exception of ECS.
func TestOddReferencesAreRefused(t *testing.T) {
	s := testServer()
	rapid.Check(t, func(t *rapid.T) {
		ref := rapid.OneOf(rapid.String(), rapid.StringMatching(`arn:(aws)?:(ecs)?:(us-east-1)?:(0{12})?:(task|cluster)?/?[a-z/:]{0,8}`)).Draw(t, "ref")
		_, err1 := s.clusterName(&ref)
		_, err2 := s.member(kindTask, "c", ref)
		_, _, err3 := s.definitionName(ref)
		for _, err := range []error{err1, err2, err3} {
			if coded := smithy.APIError(nil); err != nil && !errors.As(err, &coded) {
				t.Fatalf("%q: %v is no exception", ref, err)
			}
		}
	})
}

// Pages put together are the list, whatever their size, in both directions.
func TestPagesAreTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfDistinct(rapid.String(), rapid.ID[string]).Draw(t, "list")
		slices.Sort(list)
		down := rapid.Bool().Draw(t, "descending")
		if down {
			slices.Reverse(list)
		}
		size := rapid.Int32Range(1, maxPage).Draw(t, "size")
		var got []string
		r := pageRequest{Max: &size, Query: "q", Descending: down}
		for {
			items, next, err := page(list, self, r)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, items...)
			if next == nil {
				break
			}
			if len(items) != int(size) {
				t.Fatalf("a page of %d, not the last, has %d", size, len(items))
			}
			other := r
			other.Token, other.Query = next, "another"
			if _, _, err := page(list, self, other); err == nil {
				t.Fatal("a token is good for another query")
			}
			r.Token = next
		}
		if !slices.Equal(got, list) {
			t.Fatalf("pages %q of list %q", got, list)
		}
	})
}

// arbitrary fills any value of the SDK's types.
func arbitrary(t *rapid.T, v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") && depth > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			arbitrary(t, v.Elem(), depth-1)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "time"), 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				arbitrary(t, v.Field(i), depth)
			}
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 2).Draw(t, "length"); n >= 0 && depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				arbitrary(t, v.Index(i), depth-1)
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 2).Draw(t, "length"); n >= 0 && depth > 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				v.SetMapIndex(reflect.ValueOf(rapid.String().Draw(t, "key")), reflect.ValueOf(rapid.String().Draw(t, "value")))
			}
		}
	case reflect.Interface: // the one union there is
		if rapid.Bool().Draw(t, "set") {
			mps := &types.SharingStrategyMemberNvidiaMps{}
			arbitrary(t, reflect.ValueOf(&mps.Value).Elem(), depth)
			v.Set(reflect.ValueOf(mps))
		}
	case reflect.String:
		v.SetString(rapid.String().Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(rapid.Int32().Draw(t, "number")))
	default:
		t.Fatalf("no way to make a %s", v.Type())
	}
}

// A task definition survives the record that it is kept in: another process that reads the log has the
// same one, empty lists and unions and all.
func TestAnyTaskDefinitionSurvivesTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d state.TaskDefinition
		arbitrary(t, reflect.ValueOf(&d).Elem(), 5)
		d.ARN = "arn"
		if len(d.Tags) == 0 {
			d.Tags = nil // the record leaves no tags out, whichever way there are none
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		log := &state.Memory{}
		for range 2 { // the second store reads what the first wrote
			store, err := state.Open(ctx, log, state.Config{Synchronous: true})
			if err != nil {
				t.Fatal(err)
			}
			store.View(func(r *state.Reader) {
				if got, ok := state.TaskDefinitions.Get(r, "arn"); ok && !reflect.DeepEqual(got, d) {
					t.Fatalf("kept  %+v\nread  %+v", d, got)
				}
			})
			if err := store.Update(ctx, func(tx *state.Tx) error { state.TaskDefinitions.Put(tx, d); return nil }); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Normalising twice is normalising once, and changes nothing of the caller's.
func TestNormalisingIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d types.TaskDefinition
		arbitrary(t, reflect.ValueOf(&d).Elem(), 4)
		d.Cpu, d.Memory = ptr("0.5 vCPU"), ptr("2GB")
		before, _ := json.Marshal(d.ContainerDefinitions)
		once := d
		if err := normalizeDefinition(&once); err != nil {
			t.Fatal(err)
		}
		if after, _ := json.Marshal(d.ContainerDefinitions); string(after) != string(before) {
			t.Fatal("the caller's containers have changed")
		}
		twice := once
		if err := normalizeDefinition(&twice); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(once, twice) {
			t.Fatalf("once  %+v\ntwice %+v", once, twice)
		}
		if *once.Cpu != "512" || *once.Memory != "2048" {
			t.Fatalf("cpu %s, memory %s", *once.Cpu, *once.Memory)
		}
	})
}

// Checking never panics, whatever was decoded, and always answers with an exception of ECS.
func TestAnyTaskDefinitionIsTakenOrRefused(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d types.TaskDefinition
		arbitrary(t, reflect.ValueOf(&d).Elem(), 4)
		if rapid.Bool().Draw(t, "plausible") {
			plausible(&d)
		}
		err := normalizeDefinition(&d)
		if err == nil {
			err = checkDefinition(&d)
		}
		if err == nil {
			_, err = compatibilities(&d)
			requiredAttributes(&d)
			unsupportedInDefinition(d)
		}
		if coded := smithy.APIError(nil); err != nil && !errors.As(err, &coded) {
			t.Fatalf("%v is no exception", err)
		}
	})
}

// plausible gives a definition what the first checks ask for, so that later ones are reached.
func plausible(d *types.TaskDefinition) {
	d.Cpu, d.Memory, d.EphemeralStorage, d.TaskRoleArn, d.ExecutionRoleArn = nil, nil, nil, nil, nil
	d.RuntimePlatform, d.PlacementConstraints, d.Volumes, d.RequiresCompatibilities = nil, nil, nil, nil
	for i := range d.ContainerDefinitions {
		c := &d.ContainerDefinitions[i]
		c.Name, c.Image, c.Memory, c.MemoryReservation, c.Cpu = ptr(fmt.Sprint("c", i)), ptr("i"), ptr[int32](6), nil, 0
		c.Secrets, c.EnvironmentFiles, c.MountPoints = nil, nil, nil
	}
}

// Whatever member of the vocabulary is set, it is acted on or RunTask names it: nothing is ignored.
func TestNoMemberIsIgnored(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c types.ContainerDefinition
		v := reflect.ValueOf(&c).Elem()
		i := rapid.IntRange(0, v.NumField()-1).Draw(t, "field")
		f := v.Type().Field(i)
		if !f.IsExported() {
			return
		}
		arbitrary(t, v.Field(i), 4)
		path := "containerDefinitions." + wireName(f.Name)
		found := unsupportedInDefinition(types.TaskDefinition{ContainerDefinitions: []types.ContainerDefinition{c}})
		touched := slices.ContainsFunc(slices.Sorted(keys(passedInDefinition)), func(p string) bool { return p == path || strings.HasPrefix(p, path+".") })
		switch {
		case touched, unset(v.Field(i)), v.Field(i).Kind() == reflect.Pointer && unset(v.Field(i).Elem()): // an empty object asks for nothing
		case len(found) != 1 || !strings.HasPrefix(found[0], "containerDefinitions[") || !strings.HasSuffix(found[0], wireName(f.Name)):
			t.Fatalf("%s is set and not named: %q", path, found)
		}
	})
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// The table of what is acted on names members that there are.
func TestTheTablesNameRealMembers(t *testing.T) {
	for _, table := range []struct {
		paths map[string]bool
		root  []reflect.Type
	}{
		{actedOnInDefinition, []reflect.Type{registerInput}},
		{actedOnInRun, []reflect.Type{runInput, startInput}},
		{actedOnInService, []reflect.Type{createInput, updateInput}},
	} {
		for path := range table.paths {
			if !slices.ContainsFunc(table.root, func(r reflect.Type) bool { return hasMember(r, path) }) {
				t.Errorf("there is no member %s", path)
			}
		}
	}
	for path := range restrictedInService {
		if !actedOnInService[path] {
			t.Errorf("%s is restricted and not acted on", path)
		}
	}
	for path := range notesInService {
		if !actedOnInService[path] {
			t.Errorf("a note on %s, which is not acted on", path)
		}
	}
	for path := range restrictedInDefinition {
		if !actedOnInDefinition[path] {
			t.Errorf("%s is restricted and not acted on", path)
		}
	}
	for path := range notes {
		if !actedOnInDefinition[path] {
			t.Errorf("a note on %s, which is not acted on", path)
		}
	}
}

func hasMember(t reflect.Type, path string) bool {
	for name := range strings.SplitSeq(path, ".") {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return false
		}
		f, ok := t.FieldByNameFunc(func(field string) bool { return wireName(field) == name })
		if !ok {
			return false
		}
		t = f.Type
	}
	return true
}
