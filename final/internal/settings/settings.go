// Package settings is what the programs share of reading their settings, which
// are environment variables: secrets from files, and a form that may be logged.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"reflect"
	"strings"

	"microcomm/final/internal/sqlserver"
)

// secrets returns the names of the variables whose value may hold a password.
func secrets() []string {
	return []string{"DATABASE_URL", "COMMANDS_DATABASE_URL", "RABBITMQ_URL", "COMMANDS_SERVICE_URL", "CONSOLE_CONTROL_SECRET"}
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
			errs = append(errs, fmt.Errorf("%s_FILE: read it: %w", name, withoutPath(err)))
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

// withoutPath returns why a file cannot be read. Instead of a path the setting may
// hold the secret itself.
func withoutPath(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}

// Masked returns the fields of config, a struct, for a log line: of a URL the
// scheme, the address and the name of what is there, and never a user or a
// password. Texts and files that are not set are left out.
func Masked(config any) slog.Value {
	fields := reflect.ValueOf(config)
	var attrs []slog.Attr
	for i := range fields.NumField() {
		field, name := fields.Field(i), fields.Type().Field(i).Name
		if field.IsZero() && (field.Kind() == reflect.String || field.Kind() == reflect.Struct) {
			continue
		}
		value := field.Interface()
		if text, ok := value.(string); ok {
			value = mask(text)
		}
		attrs = append(attrs, slog.Any(name, value))
	}
	return slog.GroupValue(attrs...)
}

// mask shows of a value only what is known to be no secret. It reads a value as
// what connects with it does: what that cannot read is not shown.
func mask(value string) string {
	if file, ok := strings.CutPrefix(value, "sqlite:"); ok && !strings.Contains(file, "://") {
		return value
	}
	if sqlserver.IsURL(value) {
		if server, database, err := parseSQLServer(value); err == nil {
			return "sqlserver://" + server + "?database=" + database
		}
		return hidden
	}
	if !mayHoldPassword(value) {
		return value
	}
	u, err := url.Parse(value)
	if err != nil || u.Scheme == "" || u.Host == "" || !hasAddress(u) {
		return hidden
	}
	shown := u.Scheme + "://" + u.Host
	if u.Scheme == "amqp" || u.Scheme == "amqps" {
		shown += u.EscapedPath() // the virtual host
	}
	return shown
}

// hidden stands for a value that is not shown.
const hidden = "xxxxx"
