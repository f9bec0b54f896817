package containerd

import "havn/lifecycle"

func reasonOf(v lifecycle.Verb, err error) string { return string(v) + ": " + err.Error() }
