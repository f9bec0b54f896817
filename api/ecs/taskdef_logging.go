package ecs

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"havn/logoption"
)

// requiredOptions are the options without which a log driver is of no use.
var requiredOptions = map[types.LogDriver][]string{
	types.LogDriverAwslogs: {"awslogs-region", "awslogs-group"},
	types.LogDriverSplunk:  {"splunk-url", "splunk-token"},
}

// logOptions are the options of each log driver that Docker, and for awslogs ECS, knows. Docker documentation,
// "Configure logging drivers"; Amazon ECS API Reference, "LogConfiguration". Options of awsfirelens are the router's,
// which alone knows what they mean.
var logOptions = map[types.LogDriver][]string{
	types.LogDriverJsonFile: strings.Fields("max-size max-file compress labels labels-regex env env-regex tag"),
	types.LogDriverAwslogs: strings.Fields("awslogs-group awslogs-region awslogs-stream awslogs-stream-prefix awslogs-create-group " +
		"awslogs-datetime-format awslogs-multiline-pattern awslogs-endpoint"),
	types.LogDriverSyslog: strings.Fields("syslog-address syslog-facility syslog-format syslog-tls-ca-cert syslog-tls-cert " +
		"syslog-tls-key syslog-tls-skip-verify labels labels-regex env env-regex tag"),
	types.LogDriverJournald: strings.Fields("labels labels-regex env env-regex tag"),
	types.LogDriverGelf: strings.Fields("gelf-address gelf-compression-type gelf-compression-level gelf-tcp-max-reconnect " +
		"gelf-tcp-reconnect-delay labels labels-regex env env-regex tag"),
	types.LogDriverFluentd: strings.Fields("fluentd-address fluentd-async fluentd-async-reconnect-interval fluentd-buffer-limit " +
		"fluentd-max-retries fluentd-request-ack fluentd-retry-wait fluentd-sub-second-precision fluentd-write-timeout " +
		"labels labels-regex env env-regex tag"),
	types.LogDriverSplunk: strings.Fields("splunk-token splunk-url splunk-source splunk-sourcetype splunk-index splunk-capath " +
		"splunk-caname splunk-insecureskipverify splunk-format splunk-verify-connection splunk-gzip splunk-gzip-level " +
		"labels labels-regex env env-regex tag"),
}

// everyLogOption are the options that every driver has.
var everyLogOption = []string{"mode", "max-buffer-size"}

// logSize is a number of bytes as Docker writes it.
var logSize = regexp.MustCompile(`^(?i)[0-9]+(\.[0-9]+)? ?([kmgtp]i?)?b?$`)

// What names a group and a stream. Amazon CloudWatch Logs API Reference, "CreateLogStream".
var logGroupName = regexp.MustCompile(`^[.\-_/#A-Za-z0-9]{1,512}$`)

const maxStreamName = 512

func checkLogging(_ *types.TaskDefinition, c *types.ContainerDefinition) error {
	l := c.LogConfiguration
	if l == nil {
		return nil
	}
	var absent, unknown []string
	for _, option := range requiredOptions[l.LogDriver] {
		secret := slices.ContainsFunc(l.SecretOptions, func(s types.Secret) bool { return deref(s.Name) == option })
		if l.Options[option] == "" && !secret {
			absent = append(absent, option)
		}
	}
	if len(absent) > 0 {
		return clientError("Log driver %s requires options: %s", l.LogDriver, strings.Join(absent, ", "))
	}
	if l.LogDriver == types.LogDriverAwsfirelens {
		text := l.Options["log-driver-buffer-limit"]
		if n, err := strconv.Atoi(text); text != "" && (err != nil || n < 0 || n > maxBufferLimit) {
			return clientError("Log driver option 'log-driver-buffer-limit' must be a number from 0 to %d.", maxBufferLimit)
		}
		return nil
	}
	for option := range l.Options {
		if !slices.Contains(logOptions[l.LogDriver], option) && !slices.Contains(everyLogOption, option) {
			unknown = append(unknown, option)
		}
	}
	if slices.Sort(unknown); len(unknown) > 0 {
		return clientError("Log driver %s disallows options: %s", l.LogDriver, strings.Join(unknown, ", "))
	}
	if l.Options["awslogs-datetime-format"] != "" && l.Options["awslogs-multiline-pattern"] != "" {
		return clientError("Log driver awslogs cannot have both options awslogs-datetime-format and awslogs-multiline-pattern.")
	}
	for _, option := range slices.Sorted(maps.Keys(l.Options)) {
		if err := checkLogOption(option, l.Options[option]); err != nil {
			return err
		}
	}
	if prefix := l.Options["awslogs-stream-prefix"]; prefix != "" {
		// The stream is PREFIX/CONTAINER/TASK, where TASK has 32 digits.
		if utf8.RuneCountInString(prefix+"/"+deref(c.Name)+"/")+32 > maxStreamName {
			return clientError("Log driver option 'awslogs-stream-prefix' makes the name of a log stream longer than %d characters.", maxStreamName)
		}
	}
	if l.Options["compress"] == "true" && (l.Options["max-size"] == "" || l.Options["max-file"] == "" || l.Options["max-file"] == "1") {
		return clientError("Log driver option 'compress' needs 'max-size', and 'max-file' of more than 1.")
	}
	return nil
}

// maxBufferLimit is how many lines log-driver-buffer-limit may ask for. Amazon ECS API Reference, "LogConfiguration".
const maxBufferLimit = 536870912

// checkLogRouter checks what a log router is to do. Amazon ECS API Reference, "FirelensConfiguration".
func checkLogRouter(c *types.ContainerDefinition) error {
	for _, option := range slices.Sorted(maps.Keys(c.FirelensConfiguration.Options)) {
		switch value := c.FirelensConfiguration.Options[option]; option {
		case "enable-ecs-log-metadata":
			if _, err := strconv.ParseBool(value); err != nil {
				return clientError("FireLens option '%s' must be true or false.", option)
			}
		case "config-file-type":
			if value != "file" && value != "s3" {
				return clientError("FireLens option '%s' must be file or s3.", option)
			}
			if c.FirelensConfiguration.Options["config-file-value"] == "" {
				return clientError("FireLens option '%s' needs config-file-value.", option)
			}
		case "config-file-value":
			if c.FirelensConfiguration.Options["config-file-type"] == "" {
				return clientError("FireLens option '%s' needs config-file-type.", option)
			}
		default:
			return clientError("FireLens disallows options: %s", option)
		}
	}
	if l := c.LogConfiguration; l != nil && l.LogDriver == types.LogDriverAwsfirelens {
		return clientError("The log router '%s' cannot log through itself.", deref(c.Name))
	}
	return nil
}

func checkLogOption(option, value string) error {
	switch option {
	case "mode":
		if value != "blocking" && value != "non-blocking" {
			return clientError("Log driver option 'mode' must be blocking or non-blocking.")
		}
	case "max-size", "max-buffer-size":
		if !logSize.MatchString(value) && (option != "max-size" || value != "-1") {
			return clientError("Log driver option '%s' must be a size such as 10m.", option)
		}
	case "max-file":
		if n, err := strconv.Atoi(value); err != nil || n < 1 || n > logoption.MaxFiles {
			return clientError("Log driver option 'max-file' must be a number from 1 to %d.", logoption.MaxFiles)
		}
	case "compress", "awslogs-create-group", "fluentd-async", "fluentd-request-ack", "fluentd-sub-second-precision",
		"splunk-insecureskipverify", "splunk-verify-connection", "splunk-gzip":
		if _, err := strconv.ParseBool(value); err != nil {
			return clientError("Log driver option '%s' must be true or false.", option)
		}
	case "tag":
		if err := logoption.CheckTag(value); err != nil {
			return clientError("Log driver option 'tag' is no template that is supported: %v.", err)
		}
	case "awslogs-group":
		if value != "" && !logGroupName.MatchString(value) { // it is a secret's otherwise
			return clientError("Log driver option 'awslogs-group' must be 1 to 512 letters, digits, and any of .-_/#.")
		}
	case "awslogs-stream", "awslogs-stream-prefix":
		if strings.ContainsAny(value, ":*") || utf8.RuneCountInString(value) > maxStreamName {
			return clientError("Log driver option '%s' must be up to %d characters without : and *.", option, maxStreamName)
		}
	case "awslogs-datetime-format":
		if err := logoption.CheckDateFormat(value); err != nil {
			return clientError("Log driver option 'awslogs-datetime-format' is no format that is supported: %v.", err)
		}
	case "awslogs-multiline-pattern", "labels-regex", "env-regex":
		if _, err := regexp.Compile(value); err != nil {
			return clientError("Log driver option '%s' is no regular expression: %v.", option, err)
		}
	}
	return nil
}
