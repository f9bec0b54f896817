// Package acm is what AWS Certificate Manager promises, as far as Havn keeps it: certificates that are imported, and ones
// that are requested, which package certify issues from this Havn's own authority.
//
// A handler writes down what was asked; listeners of load balancers name certificates by their ARNs. There is no ACM
// outside to prove to that a name is one's own, so whatever way of validation a request names, it is valid at once.
package acm
