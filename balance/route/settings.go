package route

import (
	"strings"
	"time"
)

// Settings are the attributes of a load balancer and its listener that say how HTTP is spoken. What is not set is as AWS
// has it by default.
type Settings struct {
	IdleTimeout     time.Duration
	ClientKeepAlive time.Duration // how long a client's connection may be used
	Desync          Desync
	DropInvalid     bool // header fields with names of other characters than letters, digits and hyphens
	PreserveHost    bool
	ForwardedFor    ForwardedFor
	ClientPort      bool // in X-Forwarded-For
	TLSHeaders      bool // X-Amzn-Tls-Version and X-Amzn-Tls-Cipher-Suite
	HTTP2           bool
	TLSVersionName  string // of these headers
	TLSCipherName   string
	HideServer      bool    // take the Server field out of answers
	Answer          []Field // set in every answer, in the place of those that are there
}

// Field is a header field.
type Field struct{ Name, Value string }

// Desync is what is done with requests that servers read in different ways.
type Desync int

const (
	Defensive Desync = iota
	Monitor
	Strictest
)

// ForwardedFor is what is done with X-Forwarded-For.
type ForwardedFor int

const (
	Append ForwardedFor = iota
	Preserve
	Remove
)

// answerFields are the header fields that listener attributes set in answers. User Guide, "HTTP header modification".
var answerFields = []struct{ attribute, name string }{
	{"strict_transport_security", "Strict-Transport-Security"},
	{"access_control_allow_origin", "Access-Control-Allow-Origin"},
	{"access_control_allow_methods", "Access-Control-Allow-Methods"},
	{"access_control_allow_headers", "Access-Control-Allow-Headers"},
	{"access_control_allow_credentials", "Access-Control-Allow-Credentials"},
	{"access_control_expose_headers", "Access-Control-Expose-Headers"},
	{"access_control_max_age", "Access-Control-Max-Age"},
	{"content_security_policy", "Content-Security-Policy"},
	{"x_content_type_options", "X-Content-Type-Options"},
	{"x_frame_options", "X-Frame-Options"},
}

func settings(balancer, listener map[string]string) Settings {
	on := func(name string, otherwise bool) bool {
		if v := balancer[name]; v != "" {
			return v == "true"
		}
		return otherwise
	}
	name := func(attribute, otherwise string) string {
		if v := listener["routing.http.request."+attribute+".header_name"]; v != "" {
			return v
		}
		return otherwise
	}
	s := Settings{
		IdleTimeout:     seconds(balancer, "idle_timeout.timeout_seconds", time.Minute),
		ClientKeepAlive: seconds(balancer, "client_keep_alive.seconds", time.Hour),
		DropInvalid:     on("routing.http.drop_invalid_header_fields.enabled", false),
		PreserveHost:    on("routing.http.preserve_host_header.enabled", false),
		ClientPort:      on("routing.http.xff_client_port.enabled", false),
		TLSHeaders:      on("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", false),
		HTTP2:           on("routing.http2.enabled", true),
		TLSVersionName:  name("x_amzn_tls_version", "X-Amzn-Tls-Version"),
		TLSCipherName:   name("x_amzn_tls_cipher_suite", "X-Amzn-Tls-Cipher-Suite"),
		HideServer:      listener["routing.http.response.server.enabled"] == "false",
	}
	switch balancer["routing.http.desync_mitigation_mode"] {
	case "monitor":
		s.Desync = Monitor
	case "strictest":
		s.Desync = Strictest
	}
	switch balancer["routing.http.xff_header_processing.mode"] {
	case "preserve":
		s.ForwardedFor = Preserve
	case "remove":
		s.ForwardedFor = Remove
	}
	for _, f := range answerFields {
		if v := strings.TrimSpace(listener["routing.http.response."+f.attribute+".header_value"]); v != "" {
			s.Answer = append(s.Answer, Field{f.name, v})
		}
	}
	return s
}
