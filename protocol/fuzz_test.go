package protocol_test

import (
	"reflect"
	"testing"

	"havn/protocol"
)

// FuzzDecode: whatever a frame holds, Decode returns; and what it understood survives the way back.
func FuzzDecode(f *testing.F) {
	for _, frame := range []string{
		`{"type":"PayloadMessage","message":{"messageId":"m","clusterArn":"c","containerInstanceArn":"i","seqNum":1,"tasks":[{"arn":"a","desiredStatus":"RUNNING","cpu":0.5,"containers":[{"name":"web","image":"nginx","essential":true,"environment":{"A":"b"},"entryPoint":[],"portMappings":[{"containerPort":80,"hostPort":0,"protocol":"tcp"}],"dockerConfig":{"config":"{}"}}]}]}}`,
		`{"type":"TaskManifestMessage","message":{"tasks":[{"taskArn":"a","desiredStatus":"RUNNING"}],"timeline":3}}`,
		`{"type":"TaskStopVerificationAck","message":{"stopTasks":null}}`,
		`{"type":"HeartbeatMessage","message":{"healthy":true}}`,
		`{"type":"InactiveInstanceException","message":{"message":"gone"}}`,
		`{"type":"SomethingNew","message":{"x":1}}`,
		`{"type":"AckRequest"}`,
		`{"type":"PayloadMessage","message":"text"}`,
		`{"type":"PayloadMessage","message":{"tasks":[{"containers":[{"portMappings":[{"containerPort":70000}]}]}]}}`,
		`[]`, ``, `null`, `{"type":null}`,
	} {
		f.Add([]byte(frame))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		m, err := protocol.Decode(frame)
		if err != nil || m == nil {
			return
		}
		again, err := protocol.Encode(m)
		if err != nil {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
		back, err := protocol.Decode(again)
		if err != nil {
			t.Fatalf("cannot decode what was encoded: %v", err)
		}
		third, err := protocol.Encode(back)
		if err != nil {
			t.Fatal(err)
		}
		if string(again) != string(third) || reflect.TypeOf(m) != reflect.TypeOf(back) {
			t.Errorf("from %s to %s", again, third)
		}
	})
}
