package commandsservice

// Config is what can be set from outside. ConfigFromEnv says where from.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore
}

// ConfigFromEnv reads the configuration with lookup, which is os.LookupEnv. A
// variable that is not set has the value that serves development on one's own
// machine.
func ConfigFromEnv(lookup func(string) (string, bool)) Config {
	get := func(name, unset string) string {
		if value, ok := lookup(name); ok {
			return value
		}
		return unset
	}
	return Config{
		HTTPAddr:    get("COMMANDS_HTTP_ADDR", "localhost:6000"),
		DatabaseURL: get("COMMANDS_DATABASE_URL", "sqlite::memory:"),
	}
}
