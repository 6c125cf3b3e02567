package telemetry

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"microcomm/final/internal/tlsconfig"
)

// checkOTEL returns what is wrong with the variables that OpenTelemetry reads
// itself. It would log most of that, with the value, and use a default; the
// value of a header is a secret.
func checkOTEL(lookup func(string) (string, bool)) error {
	var errs []error
	check := func(what string, valid func(string) bool, names ...string) {
		for _, name := range names {
			value, _ := lookup(name)
			if value = strings.TrimSpace(value); value != "" && !valid(value) {
				errs = append(errs, fmt.Errorf("%s: not %s", name, what))
			}
		}
	}
	check("a URL such as http://localhost:4318", isEndpoint, otlp("ENDPOINT")...)
	check("grpc or http/protobuf", oneOf("grpc", "http/protobuf"), otlp("PROTOCOL")...)
	check("a list such as name=value,name=value, with % for other characters", isHeaders, otlp("HEADERS")...)
	check("a number of milliseconds", isNumberFrom(0), otlp("TIMEOUT")...)
	check("gzip or none", oneOf("gzip", "none"), otlp("COMPRESSION")...)
	check("a list such as name=value,name=value, with % for other characters", isAttributes, "OTEL_RESOURCE_ATTRIBUTES")
	check("otlp or none", oneOf("otlp", "none"), "OTEL_TRACES_EXPORTER")
	check("a sampler such as parentbased_traceidratio", func(value string) bool {
		return oneOf("always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
			"parentbased_traceidratio")(strings.ToLower(value))
	}, "OTEL_TRACES_SAMPLER")
	if sampler, _ := lookup("OTEL_TRACES_SAMPLER"); strings.Contains(strings.ToLower(sampler), "ratio") {
		check("a number from 0 to 1", isRatio, "OTEL_TRACES_SAMPLER_ARG")
	}
	check("a number of milliseconds", isNumberFrom(0), "OTEL_BSP_SCHEDULE_DELAY", "OTEL_BSP_EXPORT_TIMEOUT")
	check("a number from 1 on", isNumberFrom(1), "OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE")
	check("a number", isNumberFrom(-1), "OTEL_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
		"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT",
		"OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")
	for _, signal := range []string{"", "TRACES_"} {
		prefix := "OTEL_EXPORTER_OTLP_" + signal
		ca, _ := lookup(prefix + "CERTIFICATE")
		cert, _ := lookup(prefix + "CLIENT_CERTIFICATE")
		key, _ := lookup(prefix + "CLIENT_KEY")
		if _, err := (tlsconfig.Files{CA: ca, Cert: cert, Key: key}).Client(); err != nil {
			errs = append(errs, fmt.Errorf("%sCERTIFICATE, %sCLIENT_CERTIFICATE, %sCLIENT_KEY: %w", prefix, prefix, prefix, err))
		}
	}
	return errors.Join(errs...)
}

// otlp returns the two names of a setting of the exporter.
func otlp(name string) []string {
	return []string{"OTEL_EXPORTER_OTLP_" + name, "OTEL_EXPORTER_OTLP_TRACES_" + name}
}

func oneOf(values ...string) func(string) bool {
	return func(value string) bool { return slices.Contains(values, value) }
}

func isEndpoint(value string) bool {
	u, err := url.Parse(value)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return false
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && port > 0
}

func isNumberFrom(least int) func(string) bool {
	return func(value string) bool {
		n, err := strconv.Atoi(value)
		return err == nil && n >= least
	}
}

func isRatio(value string) bool {
	ratio, err := strconv.ParseFloat(value, 64)
	return err == nil && ratio >= 0 && ratio <= 1
}

// isHeaders reports whether value is a list of headers, as the exporter reads it.
func isHeaders(value string) bool {
	return isList(value, func(name, value string) bool {
		return httpguts.ValidHeaderFieldName(name) && httpguts.ValidHeaderFieldValue(value)
	})
}

func isAttributes(value string) bool {
	return isList(value, func(string, string) bool { return true })
}

func isList(value string, valid func(name, value string) bool) bool {
	for pair := range strings.SplitSeq(value, ",") {
		name, escaped, found := strings.Cut(pair, "=")
		text, err := url.PathUnescape(strings.TrimSpace(escaped))
		if !found || err != nil || !valid(strings.TrimSpace(name), text) {
			return false
		}
	}
	return true
}
