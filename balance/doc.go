// Package balance is the data plane of the load balancers: it listens where listeners are, sends requests to targets,
// and looks after the targets' health.
//
//	state --watch--> route.Build ---> route.Table ---> proxy (HTTP) ---> targets
//	  ^                                    |     `---> stream (TCP, UDP, TLS) ^
//	  |                                    `---------> probes ----------------+
//	  +------------- health, drained, what listens -------------------+
//
// Its parts:
//
//   - balance/route is pure: records in, a table out, and which rule a request meets.
//   - balance/load counts what is under way to each target.
//   - balance/proxy speaks HTTP/1.1, HTTP/2, WebSocket and gRPC between clients and targets.
package balance
