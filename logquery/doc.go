// Package logquery knows the two languages in which one asks for log events:
// filter patterns (ParsePattern), which say of one event whether it is wanted,
// and CloudWatch Logs Insights QL (ParseQuery), which makes rows out of many.
//
// It is pure: it is given texts and events, and holds no clock, file or
// goroutine. Everything it does is linear in what it is given: regular
// expressions are Go's, which never backtrack, and every expression is bounded
// in length and so in depth.
package logquery
