// Package cause knows why tasks do not run: it names the causes, recognises them in what container engines and
// registries say, and knows what to do about each.
//
// A reason in ECS is a text. What stands in it first is ECS's own, word for word, because people and programs look
// for that; Havn adds the cause, in plain terms and with a code:
//
//	CannotStartContainerError: Error response from daemon: ... exec: "/srv": is a directory: unknown
//	Cause: "/srv" is a directory, not a program (command-is-directory)
//
// Words:
//
//   - reason: the whole text, as DescribeTasks shows it; at most lifecycle.MaxReason characters.
//   - words: the part that is ECS's and Docker's.
//   - cause: what it comes down to, for a person, with a code for programs.
//
// The package is pure. A node writes the cause that it knows for certain (Join); whoever reads a reason finds it
// there, or, where a stock agent wrote the reason, recognises it by its words (Split).
package cause

import (
	"strings"
	"unicode/utf8"

	"havn/lifecycle"
)

// Code names a cause. It is for programs, and does not change.
type Code string

// The codes, roughly in the order in which a task can meet them.
const (
	NoRoom            Code = "no-room" // no node takes the task
	NodeLost          Code = "node-lost"
	NodeRefused       Code = "node-refused" // the node cannot act on what the task asks for
	SecretNotFound    Code = "secret-not-found"
	PortTaken         Code = "port-taken"
	NoFreePort        Code = "no-free-port"
	ImageName         Code = "image-name"
	ImageNotFound     Code = "image-not-found"
	PullDenied        Code = "pull-denied"
	RegistryRefused   Code = "registry-refused" // nobody listens
	RegistryUnknown   Code = "registry-unknown" // no such name
	RegistryTLS       Code = "registry-tls"
	RegistryTimeout   Code = "registry-timeout"
	RegistryLimit     Code = "registry-limit" // too many requests
	RegistryFailed    Code = "registry-failed"
	PullStalled       Code = "pull-stalled"
	ImageBroken       Code = "image-broken"
	WrongPlatform     Code = "wrong-platform"
	DiskFull          Code = "disk-full"
	NoCommand         Code = "no-command"
	NoSuchCommand     Code = "no-such-command"
	NotExecutable     Code = "not-executable"
	CommandIsFolder   Code = "command-is-directory"
	ExecFormat        Code = "exec-format"
	MissingLoader     Code = "missing-loader"
	WorkingDirectory  Code = "working-directory"
	UnknownUser       Code = "unknown-user"
	BadHostname       Code = "bad-hostname"
	BadMount          Code = "bad-mount"
	ReadOnly          Code = "read-only"
	NoDevice          Code = "no-device"
	RefusedSysctl     Code = "refused-sysctl"
	RefusedCapability Code = "refused-capability"
	RefusedLimit      Code = "refused-limit"
	MemoryTooSmall    Code = "memory-too-small"
	DependencyFailed  Code = "dependency-failed"
	StartTimeout      Code = "start-timeout"
	OutOfMemory       Code = "out-of-memory"
	Unhealthy         Code = "unhealthy"
	Vanished          Code = "vanished"
	ShimKilled        Code = "shim-killed"
	Killed            Code = "killed" // by a signal
	Failed            Code = "failed" // it exited with another code than 0
	Finished          Code = "finished"
	StoppedByUser     Code = "stopped-by-user"
	StoppedByService  Code = "stopped-by-service"
	TargetUnhealthy   Code = "target-unhealthy"
	Unknown           Code = "unknown"
)

// Cause is why something did not run.
type Cause struct {
	Code  Code
	Words string // plain, lower case at the beginning, without a full stop
}

// mark stands between ECS's words and the cause.
const mark = " Cause: "

func (c Cause) String() string { return c.Words + " (" + string(c.Code) + ")" }

// maxCause is how many characters of a cause's words are kept. It leaves ECS's words the larger part of a reason.
const maxCause = 400

// New is a cause whose words are one line, and no longer than maxCause.
func New(code Code, words string) Cause { return Cause{code, cut(oneLine(words), maxCause)} }

// Join puts the cause behind ECS's words. What is too long is cut in the middle: first the cause, then the words,
// of which the beginning names the error and the end is what the innermost error said.
func Join(words string, c Cause) string {
	if c.Code == "" {
		return cut(words, lifecycle.MaxReason)
	}
	c = New(c.Code, c.Words)
	behind := mark + c.String()
	return cut(words, lifecycle.MaxReason-utf8.RuneCountInString(behind)) + behind
}

// Split takes a reason apart again. The cause of one that names none is recognised by its words; its code is empty if
// that cannot be done.
func Split(reason string) (words string, c Cause) {
	at := strings.LastIndex(reason, mark)
	if at >= 0 {
		rest := reason[at+len(mark):]
		if open := strings.LastIndex(rest, " ("); open >= 0 && strings.HasSuffix(rest, ")") {
			if code := Code(rest[open+2 : len(rest)-1]); known(code) {
				return reason[:at], Cause{code, rest[:open]}
			}
		}
	}
	return reason, Of(reason)
}

func known(code Code) bool { _, ok := advice[code]; return ok }

// cut is at most that many characters of a text, without its middle if it is longer.
func cut(text string, most int) string {
	const gap = " ... "
	runes := []rune(strings.ToValidUTF8(text, "\uFFFD"))
	if len(runes) <= most {
		return string(runes)
	}
	head := (most - len(gap)) / 2
	tail := most - len(gap) - head
	return string(runes[:head]) + gap + string(runes[len(runes)-tail:])
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
