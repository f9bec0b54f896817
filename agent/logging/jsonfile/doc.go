// Package jsonfile is the form in which Havn keeps what containers write: Docker's json-file, one JSON object a line.
//
//	{"log":"hello\n","stream":"stdout","time":"2026-11-25T01:02:03.456789012Z"}
//
// A Writer writes it, in the shim, and rotates; a Reader reads it, in Havn, and follows the rotation. Neither knows of
// the other: what they share is the files.
//
//	CONTAINER.log      the one that is written
//	CONTAINER.log.1    the newest of the full ones; .1.gz if it is compressed
//	CONTAINER.log.2    the one before it, and so on
//
// A file is known by the time of its first line, whatever its name is at the moment: a Position is that time and an
// offset. The package links next to nothing, since every shim has it.
package jsonfile
