// Package e2e looks at Havn from outside: the real binary, real containers, the stock AWS CLI, boto3 and the SDK.
//
// The scripts in testdata are tours: read them from the top and type them. A line that begins with $ goes to one
// bash, as typed, with what went before still in it; the lines below it say what it must have printed. Each script has
// data folders, a port and images of its own, and when it ends, however it ends, its tasks are stopped and the machine
// is searched for what it may have left.
//
// Words beside testscript's own:
//
//	$ LINE         run in the script's bash; "! $ LINE" must fail
//	crash [DIR]    kill -9 the Havn of a data folder, and return when it is dead
//	registry       start an image registry on loopback, and set $REGISTRY; see registry_test.go
//	etcd           start an etcd, and set $ETCD
//
// and in the bash, beside the machine's commands: eventually LINE, which tries a line until it succeeds. It is for what no
// waiter of AWS waits for, and the only loop.
//
// Containers need root. HAVN_TEST_BIN names a folder with havn, havn-shim and runc; without it they are taken from bin
// if nothing is newer than they are, else built.
package e2e
