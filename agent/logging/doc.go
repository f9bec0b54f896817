// Package logging brings what containers print to where their log configuration says.
//
//	container -> shim --jsonfile.Writer--> CONTAINER.log[.N] --jsonfile.Reader--> Ship -> driver -> destination
//	                                             ^                                 |
//	                                             +----- CONTAINER.log-cursor <-----+
//
// Words:
//
//   - The spool is the files that the shim writes. It is there for every container, so that `havn logs` shows the output
//     whatever the driver is, and so that a container prints on while Havn is not there. Its size follows from the
//     configuration: see Spool.
//   - A driver gives lines to a destination; each has a file here. json-file has none; the spool is the log.
//   - The cursor is how far the destination has taken them. It is written after a line has been taken, so after a
//     kill -9 a few lines go twice, and none is left out (at least once).
//
// A destination that does not answer is tried again, and does no harm to the container; what the spool cannot hold
// meanwhile is lost, the oldest first, or makes the container wait, as `mode` says.
package logging
