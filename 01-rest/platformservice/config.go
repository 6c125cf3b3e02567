package platformservice

import (
	"fmt"
	"strconv"
)

// Config is what can be set from outside. ConfigFromEnv says where from.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore
	Seed        bool   // give an empty store some platforms
}

// ConfigFromEnv reads the configuration with lookup, which is os.LookupEnv. A
// variable that is not set has the value that serves development on one's own
// machine. The error names the variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	get := func(name, unset string) string {
		if value, ok := lookup(name); ok {
			return value
		}
		return unset
	}
	c := Config{
		HTTPAddr:    get("PLATFORMS_HTTP_ADDR", "localhost:5000"),
		DatabaseURL: get("DATABASE_URL", "sqlite::memory:"),
	}
	var err error
	if c.Seed, err = strconv.ParseBool(get("SEED_DATA", "true")); err != nil {
		return Config{}, fmt.Errorf("SEED_DATA: %q is neither true nor false", get("SEED_DATA", ""))
	}
	return c, nil
}
