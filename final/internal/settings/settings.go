// Package settings is what the programs share of reading their settings, which
// are environment variables: secrets from files, and a form that may be logged.
package settings

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/microsoft/go-mssqldb/msdsn"
)

// ErrWrong is what an error of a program wraps when a setting is wrong.
var ErrWrong = errors.New("wrong settings")

// secrets returns the names of the variables whose value may hold a password.
func secrets() []string {
	return []string{"DATABASE_URL", "COMMANDS_DATABASE_URL", "RABBITMQ_URL", "COMMANDS_SERVICE_URL"}
}

// WithFiles returns a lookup that finds the value of a secret NAME in the file
// that NAME_FILE names, as orchestrators mount secrets. A line break at the end
// of the file is not part of the value. Both variables at once are an error, and
// so is a file that cannot be read; the error names them all.
func WithFiles(lookup func(string) (string, bool)) (func(string) (string, bool), error) {
	values := map[string]string{}
	var errs []error
	for _, name := range secrets() {
		file, ok := lookup(name + "_FILE")
		if !ok {
			continue
		}
		if _, both := lookup(name); both {
			errs = append(errs, fmt.Errorf("%s_FILE: %s is set too; set one of them", name, name))
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s_FILE: %w", name, err))
			continue
		}
		values[name] = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	}
	return func(name string) (string, bool) {
		if value, ok := values[name]; ok {
			return value, true
		}
		return lookup(name)
	}, errors.Join(errs...)
}

// Masked returns the fields of config, a struct, for a log line, without the
// passwords in its URLs and connection strings, and without texts and files that
// are not set.
func Masked(config any) slog.Value {
	fields := reflect.ValueOf(config)
	var attrs []slog.Attr
	for i := range fields.NumField() {
		field := fields.Field(i)
		if field.IsZero() && (field.Kind() == reflect.String || field.Kind() == reflect.Struct) {
			continue
		}
		value := field.Interface()
		if text, ok := value.(string); ok {
			value = mask(text)
		}
		attrs = append(attrs, slog.Any(fields.Type().Field(i).Name, value))
	}
	return slog.GroupValue(attrs...)
}

// mask shows of a value only what is known to be no secret.
func mask(value string) string {
	lower := strings.ToLower(value)
	isSQLServer := slices.ContainsFunc([]string{"sqlserver:", "server=", "data source="},
		func(prefix string) bool { return strings.HasPrefix(lower, prefix) })
	if isSQLServer {
		config, err := msdsn.Parse(value)
		if err != nil {
			return "xxxxx"
		}
		return fmt.Sprintf("sqlserver://%s:xxxxx@%s?database=%s", url.User(config.User), config.Host, url.QueryEscape(config.Database))
	}
	if !strings.Contains(value, "://") {
		return value
	}
	u, err := url.Parse(value)
	if err != nil {
		return "xxxxx"
	}
	if u.RawQuery != "" {
		u.RawQuery = "xxxxx"
	}
	return u.Redacted()
}
