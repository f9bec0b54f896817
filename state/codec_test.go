package state

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

var update = flag.Bool("update", false, "write testdata/formats.txt anew")

// old is what item looked like in versions 1 and 2: Colour was called Color, and then N was text.
var upgraded = NewTable("test-upgraded", 3, func(i item) string { return i.ID }).
	Upgrade(1, func(old json.RawMessage) (json.RawMessage, error) {
		return json.RawMessage(strings.Replace(string(old), `"Color":`, `"Colour":`, 1)), nil
	}).
	Upgrade(2, func(old json.RawMessage) (json.RawMessage, error) {
		var was struct {
			ID, Colour, N string
		}
		if err := json.Unmarshal(old, &was); err != nil {
			return nil, err
		}
		return json.RawMessage(fmt.Sprintf(`{"ID":%q,"Colour":%q,"N":%s}`, was.ID, was.Colour, was.N)), nil
	})

func TestANewerBinaryReadsWhatAnOlderOneWrote(t *testing.T) {
	want := item{ID: "a", Colour: "red", N: 7}
	for _, value := range []string{
		`{"v":1,"ID":"a","Color":"red","N":"7"}`,
		`{"v":2,"ID":"a","Colour":"red","N":"7"}`,
		`{"v":3,"ID":"a","Colour":"red","N":7}`,
		"{ \"N\":7,\n \"Colour\": \"red\", \"v\": 3, \"ID\": \"a\" }",
	} {
		s := openSync(t, logOf(t, "test-upgraded/a", value))
		s.View(func(r *Reader) {
			if got, _ := upgraded.Get(r, "a"); !reflect.DeepEqual(got, want) {
				t.Errorf("%s is read as %+v", value, got)
			}
		})
		// It is written anew in the newest format, and only when something else has changed.
		if err := s.Update(t.Context(), func(tx *Tx) error {
			i, _ := upgraded.Get(tx, "a")
			i.N++
			upgraded.Put(tx, i)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got := string(s.log.(*Memory).current["test-upgraded/a"].Value); !strings.HasPrefix(got, `{"v":3,`) {
			t.Errorf("written anew as %s", got)
		}
	}
}

// logOf is a log with one record in it.
func logOf(t testing.TB, key, value string) *Memory {
	t.Helper()
	m := &Memory{}
	if _, err := m.Append(t.Context(), Proposal{ID: "x", Expect: map[string]Revision{key: 0}, Writes: []Write{{Key: key, Value: []byte(value)}}}); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestARecordThatCannotBeReadIsNamed(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"test-item/a", `{"v":2,"ID":"a"}`, "format is version 2"},
		{"test-item/a", `{"v":99999999999,"ID":"a"}`, "version"},
		{"test-item/a", `{"v":0,"ID":"a"}`, "format is version 0"},
		{"test-item/a", `{"v":"1","ID":"a"}`, "not a number"},
		{"test-item/a", `{"ID":"a"}`, "no version"},
		{"test-item/a", `{"v":1,"ID":`, "unexpected end"},
		{"test-item/a", `{"v":1,"ID":"a"} x`, "after top-level value"},
		{"test-item/a", `{"v":1,"ID":"a","N":"many"}`, "N"},
		{"test-item/a", `{"v":1,"ID":"b"}`, `its key should be "b"`},
		{"test-item/a", ``, "unexpected end"},
		{"nothing/a", `{"v":1}`, `no table "nothing"`},
	} {
		m := logOf(t, c.key, c.value)
		_, err := Open(t.Context(), m, Config{Synchronous: true})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s %s: error %v, want %q", c.key, c.value, err, c.want)
		}
		if got := string(m.current[c.key].Value); got != c.value {
			t.Errorf("the record was changed to %s", got)
		}
	}
}

func TestARecordOfTheFutureStopsARunningStore(t *testing.T) {
	for _, synchronous := range []bool{true, false} {
		m := &Memory{}
		s, err := Open(t.Context(), m, Config{Synchronous: synchronous})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Append(t.Context(), Proposal{Expect: map[string]Revision{}, Writes: []Write{{Key: "test-item/a", Value: []byte(`{"v":2}`)}}}); err != nil {
			t.Fatal(err)
		}
		if synchronous {
			s.Sync(t.Context()) //nolint:errcheck // Wait tells
		}
		if err := s.Wait(); !strings.Contains(err.Error(), "test-item/a") {
			t.Errorf("Wait: %v", err)
		}
		err = s.Update(t.Context(), func(tx *Tx) error { items.Put(tx, item{ID: "b"}); return nil })
		if err == nil || !strings.Contains(err.Error(), "test-item/a") {
			t.Errorf("Update: %v", err)
		}
	}
}

func TestNullsAreNotStored(t *testing.T) {
	text := "a \"null\": {,} \\"
	d := TaskDefinition{ARN: "arn", Spec: types.TaskDefinition{
		Family: aws.String(":null,"),
		ContainerDefinitions: []types.ContainerDefinition{
			{Name: &text, Environment: []types.KeyValuePair{{Name: &text}, {}, {Value: &text}}, Command: []string{"", "null", "}"}},
			{DockerLabels: map[string]string{text: "", "b": "null"}, Essential: aws.Bool(false)},
		},
	}}
	value, err := encode(1, d)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.ReplaceAll(string(value), `":null,"`, ""), `":null`) || !strings.HasPrefix(string(value), `{"v":1,"ARN":"arn",`) {
		t.Errorf("%s", value)
	}
	if got, err := decode[TaskDefinition](TaskDefinitions.schema, value); err != nil || !reflect.DeepEqual(got, d) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if value, _ := encode(1, struct{ A, B *int }{}); string(value) != `{"v":1}` {
		t.Errorf("nothing is %s", value)
	}
}

// A record's members may only change with its version. This test shows what every version looks like; run it
// with -update when a version is added, or before the first release.
func TestFormatsAreWrittenDown(t *testing.T) {
	var b strings.Builder
	written := map[string]bool{}
	for _, table := range []struct {
		schema *schema
		record any
	}{
		{Clusters.schema, Cluster{}}, {TaskDefinitions.schema, TaskDefinition{}}, {Families.schema, Family{}},
		{Tasks.schema, Task{}}, {Nodes.schema, Node{}}, {Instances.schema, Instance{}},
		{ClientTokens.schema, ClientToken{}}, {AccountSettings.schema, AccountSetting{}},
		{LogGroups.schema, LogGroup{}}, {LogStreams.schema, LogStream{}}, {Stories.schema, Story{}}, {Refusals.schema, Refusal{}},
		{CapacityProviders.schema, CapacityProvider{}}, {Services.schema, Service{}}, {ServiceRevisions.schema, ServiceRevision{}},
		{ServiceDeployments.schema, ServiceDeployment{}}, {ServiceEvents.schema, ServiceHistory{}}, {TaskSets.schema, TaskSet{}},
		{LoadBalancers.schema, LoadBalancer{}}, {Listeners.schema, Listener{}}, {ListenerRules.schema, ListenerRule{}},
		{TargetGroups.schema, TargetGroup{}}, {Targets.schema, Target{}}, {BalancerLedgers.schema, BalancerLedger{}},
		{Certificates.schema, Certificate{}}, {fences.schema, Fence{}},
	} {
		written[table.schema.name] = true
		fmt.Fprintf(&b, "%s v%d\n", table.schema.name, table.schema.format)
		members(&b, reflect.TypeOf(table.record), "  ", nil)
	}
	for _, s := range schemas.list {
		if !written[s.name] && !strings.Contains(s.name, "test-") { // tests have their own
			t.Errorf("the format of %s is not written down here", s.name)
		}
	}
	if strings.Contains(b.String(), "\n  V ") || strings.Contains(b.String(), "\n  v ") {
		t.Error("a record cannot have a member v: that is its version")
	}
	const file = "testdata/formats.txt"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the members of a record have changed. If its version was ever released, add one to the version in NewTable, with an Upgrade if need be; then run go test ./state -run Formats -update and look at git diff %s", file)
	}
}

func members(b *strings.Builder, t reflect.Type, indent string, within []reflect.Type) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t.PkgPath() == "time" || slices.Contains(within, t) {
		return
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() {
			fmt.Fprintf(b, "%s%s %s %s\n", indent, f.Name, f.Type, f.Tag.Get("json"))
			members(b, f.Type, indent+"  ", append(within, t))
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"v":1,"ID":"a","Colour":"red","Tags":["x","y"],"N":3,"Ptr":"p"}`, `{"v":1}`, `{"v":12,"ID":"a"}`, `{"v":`, `{"ID":"\"","v":1}`,
		`{"v":1,"ID":"a:null,"}`, `null`, `[]`, `{"V":1}`, `{"v":1e3}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		got, err := decode[item](items.schema, value)
		if err != nil {
			return
		}
		// What can be read can be written, and says the same when it is read again.
		once, err := encode(1, got)
		if err != nil {
			t.Fatal(err)
		}
		back, err := decode[item](items.schema, once)
		if err != nil {
			t.Fatalf("%s: %v", once, err)
		}
		if twice, err := encode(1, back); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s came back as %s, %v", once, twice, err)
		}
		if format, err := version(once); format != 1 || err != nil {
			t.Fatalf("written as %s", once)
		}
	})
}
