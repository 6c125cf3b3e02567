package settings

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/tlsconfig"
)

// Env reads settings, and collects what is wrong with them: a value that can
// never work is better refused at the start than found later in a log.
type Env struct {
	lookup func(string) (string, bool)
	wrong  map[string]error
}

// NewEnv returns an Env that reads with lookup.
func NewEnv(lookup func(string) (string, bool)) *Env {
	return &Env{lookup: lookup, wrong: map[string]error{}}
}

// Err returns what is wrong with all settings that were read, or nil.
func (e *Env) Err() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(e.wrong)) {
		errs = append(errs, e.wrong[name])
	}
	return errors.Join(errs...)
}

// Wrong adds that a setting is wrong. Of several faults of one setting the first counts.
func (e *Env) Wrong(name, format string, args ...any) {
	if e.wrong[name] == nil {
		e.wrong[name] = fmt.Errorf(name+": "+format, args...)
	}
}

// shown returns a value for an error, unless it looks like one with a password.
func shown(value string) string {
	if mayHoldPassword(value) {
		return "what it is set to"
	}
	return strconv.Quote(value)
}

// mayHoldPassword reports whether a value is, or was meant to be, a URL or a
// connection string.
func mayHoldPassword(value string) bool {
	return strings.ContainsAny(value, "@=;") || strings.Contains(value, "://")
}

// Text returns any text.
func (e *Env) Text(name, fallback string) string {
	if value, ok := e.lookup(name); ok {
		return value
	}
	return fallback
}

// File accepts the name of a file that can be read, and an empty value. Its errors do not
// show the value: it may be what was meant to be in the file.
func (e *Env) File(name string) string {
	value := e.Text(name, "")
	if value == "" {
		return value
	}
	if _, err := os.ReadFile(value); err != nil {
		e.Wrong(name, "read it: %w", withoutPath(err))
	}
	return value
}

// Addr accepts an address to listen on. It refuses one without a port: to listen
// there would mean a random port and, without a host too, every network of the machine.
func (e *Env) Addr(name, fallback string) string {
	value := e.Text(name, fallback)
	host, port, err := net.SplitHostPort(value)
	if err == nil && port != "" {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil || port == "" || host != "" && !isHost(host) {
		e.Wrong(name, "%s is not an address such as %s", shown(value), fallback)
	}
	return value
}

// Target accepts an address to connect to. There, port 0 is none.
func (e *Env) Target(name, fallback string) string {
	value := e.Addr(name, fallback)
	if _, port, err := net.SplitHostPort(value); err == nil && strings.Trim(port, "0") == "" {
		e.Wrong(name, "%s is not an address such as %s", shown(value), fallback)
	}
	return value
}

// isHost reports whether a name can be looked up, or is an IP address.
func isHost(host string) bool {
	address, _, _ := strings.Cut(host, "%") // an IPv6 zone
	return net.ParseIP(address) != nil || len(host) <= 253 &&
		regexp.MustCompile(`^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$`).MatchString(host)
}

// Boolean accepts what strconv.ParseBool does.
func (e *Env) Boolean(name string, fallback bool) bool {
	text := e.Text(name, strconv.FormatBool(fallback))
	value, err := strconv.ParseBool(text)
	if err != nil {
		e.Wrong(name, "%s is neither true nor false", shown(text))
	}
	return value
}

// HTTPURL accepts an empty value, too, which is the default. Its errors do not show
// the value, which may hold a password.
func (e *Env) HTTPURL(name, example string) string {
	value := e.Text(name, "")
	if u, err := url.Parse(value); value != "" &&
		(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || !hasAddress(u)) {
		e.Wrong(name, "not a URL such as %s; in a password @ is written as %%40, / as %%2F, # as %%23 and ? as %%3F", example)
	}
	return value
}

// AMQPURL does not show the value in its errors, because it may hold a password.
func (e *Env) AMQPURL(name, fallback string) string {
	value := e.Text(name, fallback)
	uri, err := amqp.ParseURI(value)
	u, urlErr := url.Parse(value)
	if err != nil || urlErr != nil || u.Opaque != "" || !hasAddress(u) || len(uri.Vhost) > maxNameLength {
		e.Wrong(name, "not a URL such as %s; in a password @ is written as %%40, / as %%2F, # as %%23 and ? as %%3F", fallback)
	}
	return value
}

// hasAddress reports whether host and port of a URL can be connected to. An @
// behind them means that they are the begin of a password with a slash in it.
func hasAddress(u *url.URL) bool {
	if u.Host != "" && !isHost(u.Hostname()) || strings.Contains(u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "@") ||
		strings.TrimSpace(u.Path) != u.Path {
		return false
	}
	if u.Port() == "" {
		return true
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	return err == nil && port > 0
}

// DatabaseURL accepts the databases of a service:
//
//	sqlite::memory:      a database of this process alone, gone with it
//	sqlite:FILE          a SQLite file
//	sqlserver://USER:PASSWORD@HOST:1433?database=NAME
//	Server=HOST,1433;Initial Catalog=NAME;User Id=USER;Password=PASSWORD
//
// The last is an ADO.NET connection string. No error shows the value, which may
// hold a password.
func (e *Env) DatabaseURL(name, fallback string) string {
	value := e.Text(name, fallback)
	file, isFile := strings.CutPrefix(value, "sqlite:")
	switch {
	case isFile && file == "":
		e.Wrong(name, "sqlite: needs a file name, or :memory:")
	case isFile && strings.TrimSpace(file) != file:
		e.Wrong(name, "sqlite: the file name begins or ends with a blank")
	case isFile:
	case sqlserver.IsURL(value):
		if _, _, err := parseSQLServer(value); err != nil {
			e.Wrong(name, "%w", err)
		}
	case strings.TrimSpace(value) != value:
		e.Wrong(name, "it begins or ends with a blank")
	default:
		e.Wrong(name, "neither sqlite:…, sqlserver://… nor Server=…;…")
	}
	return value
}

// maxSQLServerName is the length of a name in SQL Server.
const maxSQLServerName = 128

// parseSQLServer returns the server and the database that value names. Both are
// what they seem to be: where a semicolon is missing, a password ends up in them.
func parseSQLServer(value string) (server, database string, err error) {
	config, err := sqlserver.Parse(value)
	if err != nil {
		return "", "", err
	}
	server, database = config.Host, config.Database
	if !isHost(server) || !isText(config.Instance) || strings.ContainsAny(config.Instance, `@=;,/\ `) {
		return "", "", errors.New("its server is neither a host name nor an IP address")
	}
	if config.Instance != "" {
		server += `\` + config.Instance
	}
	if port, ok := config.Parameters["port"]; ok {
		if config.Port == 0 {
			return "", "", errors.New("its port is not one from 1 to 65535")
		}
		server += ":" + port
	}
	if len(database) > maxSQLServerName || !isText(database) || mayHoldPassword(database) {
		return "", "", errors.New("its database has a name that can not be right; is a semicolon missing?")
	}
	return server, database, nil
}

// isText reports whether text can be shown as it is.
func isText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// Duration accepts durations from a millisecond on.
func (e *Env) Duration(name string, fallback time.Duration) time.Duration {
	text := e.Text(name, fallback.String())
	value, err := time.ParseDuration(text)
	if err != nil || value < time.Millisecond {
		e.Wrong(name, "%s is not a duration such as 2s", shown(text))
	}
	return value
}

// DurationUpTo accepts durations from 0 to most.
func (e *Env) DurationUpTo(name string, fallback, most time.Duration) time.Duration {
	text := e.Text(name, fallback.String())
	value, err := time.ParseDuration(text)
	if err != nil || value < 0 || value > most {
		e.Wrong(name, "%s is not a duration from 0s to %s", shown(text), most)
	}
	return value
}

// maxTTL is the longest that RabbitMQ lets a message wait: 2³² - 1 ms.
const maxTTL = (1<<32 - 1) * time.Millisecond

// Delays accepts durations that a message can wait in a queue, separated by
// commas, and an empty text for none.
func (e *Env) Delays(name string, fallback []time.Duration) []time.Duration {
	text, ok := e.lookup(name)
	if !ok {
		return fallback
	}
	delays := []time.Duration{}
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		value, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || value < time.Millisecond || value > maxTTL {
			e.Wrong(name, "%s are not durations such as 1s,10s,1m, each from 1ms to %s", shown(text), maxTTL.Truncate(time.Hour))
			break
		}
		delays = append(delays, value)
	}
	return delays
}

// maxNameLength is how many bytes AMQP has for the name of an exchange or a queue.
const maxNameLength = 255

// BrokerName accepts the name of an exchange or of a queue.
func (e *Env) BrokerName(name, fallback string) string {
	value := e.Text(name, fallback)
	switch {
	case value == "":
		e.Wrong(name, "must not be empty")
	case strings.TrimSpace(value) != value || !isText(value):
		e.Wrong(name, "%s begins or ends with a blank, or has a control character in it", shown(value))
	case strings.HasPrefix(value, "amq."):
		e.Wrong(name, "%s: names that begin with amq. are the broker's own", shown(value))
	}
	e.FitsBroker(name, value)
	return value
}

// FitsBroker refuses a setting if a name that is made from it is too long for the broker.
func (e *Env) FitsBroker(name, made string) {
	if len(made) > maxNameLength {
		e.Wrong(name, "a name of %d bytes follows from it; the broker allows %d", len(made), maxNameLength)
	}
}

// List returns texts that are separated by commas, without blanks around them.
func (e *Env) List(name string) []string {
	var list []string
	for part := range strings.SplitSeq(e.Text(name, ""), ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// OneOf accepts the values; the first is the default.
func (e *Env) OneOf(name string, values ...string) string {
	value := e.Text(name, values[0])
	if !slices.Contains(values, value) {
		e.Wrong(name, "%s is none of %s", shown(value), strings.Join(values, ", "))
	}
	return value
}

// Number accepts whole numbers from least to most.
func (e *Env) Number(name string, fallback, least, most int) int {
	text := e.Text(name, strconv.Itoa(fallback))
	value, err := strconv.Atoi(text)
	if err != nil || value < least || value > most {
		e.Wrong(name, "%s is not a number from %d to %d", shown(text), least, most)
	}
	return value
}

// ServerTLS reads prefix_CERT_FILE, prefix_KEY_FILE and prefix_CLIENT_CA_FILE.
func (e *Env) ServerTLS(prefix string) tlsconfig.Files {
	files := tlsconfig.Files{
		Cert: e.Text(prefix+"_CERT_FILE", ""), Key: e.Text(prefix+"_KEY_FILE", ""), CA: e.Text(prefix+"_CLIENT_CA_FILE", ""),
	}
	if _, err := files.Server(); err != nil {
		e.Wrong(fmt.Sprintf("%s_CERT_FILE, %s_KEY_FILE, %s_CLIENT_CA_FILE", prefix, prefix, prefix), "%w", err)
	}
	return files
}

// ClientTLS reads prefix_CERT_FILE, prefix_KEY_FILE and prefix_CA_FILE.
func (e *Env) ClientTLS(prefix string) tlsconfig.Files {
	files := tlsconfig.Files{
		Cert: e.Text(prefix+"_CERT_FILE", ""), Key: e.Text(prefix+"_KEY_FILE", ""), CA: e.Text(prefix+"_CA_FILE", ""),
	}
	if _, err := files.Client(); err != nil {
		e.Wrong(fmt.Sprintf("%s_CERT_FILE, %s_KEY_FILE, %s_CA_FILE", prefix, prefix, prefix), "%w", err)
	}
	return files
}
