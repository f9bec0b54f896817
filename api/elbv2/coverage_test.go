package elbv2

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/coverage-elbv2.md anew")

// kinds are the kinds of resource that the attributes of each table are of.
var kinds = []struct {
	what  string
	table []attribute
	of    []string
}{
	{"Load balancer", balancerAttributes, both},
	{"Listener", listenerAttributes, []string{"HTTP", "HTTPS", "TCP", "TLS", "UDP", "TCP_UDP"}},
	{"Target group", groupAttributes, groupAny},
}

// refusedOperations are those that no call of can succeed, with the reason.
var refusedOperations = map[string]string{
	"CreateTrustStore": trustStores, "ModifyTrustStore": trustStores, "DeleteTrustStore": trustStores,
	"AddTrustStoreRevocations": trustStores, "RemoveTrustStoreRevocations": trustStores, "DescribeTrustStoreRevocations": trustStores,
	"DescribeTrustStoreAssociations": trustStores, "DeleteSharedTrustStoreAssociation": trustStores,
	"GetTrustStoreCaCertificatesBundle": trustStores, "GetTrustStoreRevocationContent": trustStores, "GetResourcePolicy": trustStores,
	"ModifyIpPools": "a load balancer gets an address of its own",
}

// noneOperations describe that there is nothing.
var noneOperations = map[string]string{
	"DescribeTrustStores": "there are none", "DescribeCapacityReservation": "there is none",
	"ModifyCapacityReservation": "resets what is not there; reserves nothing, for " + reservations,
}

func TestEveryOperationIsHandled(t *testing.T) {
	if got := NewServer(Config{}).API().Handled(); !slices.Equal(got, operations) {
		t.Errorf("handled are %v", got)
	}
}

// What is refused or does not matter is what happens by default: every default is a legal value, and a resource has each
// key once.
func TestEveryAttributeHasALegalDefault(t *testing.T) {
	for _, k := range kinds {
		for _, kind := range k.of {
			seen := map[string]bool{}
			for _, a := range attributesOf(k.table, kind) {
				if seen[a.key] {
					t.Errorf("%s %s has %s twice", k.what, kind, a.key)
				}
				seen[a.key] = true
				if a.byDefault != "" && !a.check(a.byDefault) {
					t.Errorf("%s: %s cannot be %q, which it is by default", k.what, a.key, a.byDefault)
				}
				if a.who == "" {
					t.Errorf("%s: nobody says why %s is %s", k.what, a.key, a.fate)
				}
			}
		}
	}
}

// Who acts on an attribute reads it, and nobody reads one that does not matter.
func TestWhoActsOnAnAttributeReadsIt(t *testing.T) {
	readers := map[string]string{} // text of the sources, by their folder at the root
	for _, dir := range []string{"balance", "control"} {
		err := filepath.WalkDir(filepath.Join("../..", dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			readers[dir] += string(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// Some are read by a part of their keys: a table of header fields, for one.
	reads := func(dir, key string) bool {
		if strings.Contains(readers[dir], `"`+key+`"`) {
			return true
		}
		for _, around := range []struct{ before, after string }{
			{"routing.http.request.", ".header_name"}, {"routing.http.response.", ".header_value"},
			{"target_group_health.unhealthy_state_routing.minimum_healthy_targets.", ""},
		} {
			middle, ok := strings.CutPrefix(key, around.before)
			middle, ok2 := strings.CutSuffix(middle, around.after)
			if ok && ok2 && strings.Contains(readers[dir], `"`+around.before) && strings.Contains(readers[dir], `"`+middle+`"`) {
				return true
			}
		}
		return false
	}
	for _, k := range kinds {
		for _, a := range k.table {
			if a.fate != acted {
				if reads("balance", a.key) && a.key != "load_balancing.cross_zone.enabled" && !strings.HasPrefix(a.key, "access_logs.") {
					t.Errorf("balance reads %s, which is said to be %s", a.key, a.fate)
				}
				continue
			}
			for who := range strings.SplitSeq(a.who, ", ") {
				if readers[who] != "" && !reads(who, a.key) {
					t.Errorf("%s is said to act on %s, and does not read it", who, a.key)
				}
			}
		}
	}
}

// TestCoverageIsWrittenDown keeps docs/coverage-elbv2.md: go test ./api/elbv2 -run Coverage -update
func TestCoverageIsWrittenDown(t *testing.T) {
	var b bytes.Buffer
	w := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	w("# Elastic Load Balancing (version 2015-12-01)\n")
	w("Written by `go test ./api/elbv2 -run Coverage -update` from the tables that the handlers use.\n")
	w("## Operations\n\n| operation | |\n|---|---|")
	for _, op := range operations {
		what := "done"
		if why, ok := refusedOperations[op]; ok {
			what = "refused: " + why
		} else if why, ok := noneOperations[op]; ok {
			what = why
		}
		w("| %s | %s |", op, what)
	}
	w("\nRefused by name within them: load balancers of type gateway; target groups of type lambda and alb, and with the protocols")
	w("GENEVE, QUIC and TCP_QUIC; actions of type authenticate-oidc, authenticate-cognito and jwt-validation; mutual")
	w("authentication; rules of network load balancers; addresses that one chooses (SubnetMappings, IPAM, customer-owned pools).")
	for _, k := range kinds {
		w("\n## %s attributes\n\n| key | of | default | value | |\n|---|---|---|---|---|", k.what)
		for _, a := range k.table {
			says := a.says
			if says == "" {
				says = "the default"
			}
			w("| `%s` | %s | %s | %s | %s: %s |", a.key, strings.Join(a.of, ", "), a.byDefault, says, a.fate, a.who)
		}
	}
	const file = "../../docs/coverage-elbv2.md"
	if *update {
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%s is out of date: go test ./api/elbv2 -run Coverage -update", file)
	}
}
