package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/issuer"
)

// issuerEndpoint is where lab run --auth has its issuer, and lab token finds it.
func issuerEndpoint() endpoint { return endpoint{"ISSUER_ADDR", "localhost:7010"} }

func tokenVerb() verb {
	var scope, subject string
	var rotate bool
	v := verb{
		name:    "token",
		summary: "prints a token for a stage that lab run --auth has started",
		about: `Asks the issuer of lab run --auth for a token, and prints it. It is valid for twelve hours,
or until lab run ends. --rotate has the issuer sign with a new key from now on: the tokens of
the key before stay valid, and the services notice the new key on their own.
  curl -H "Authorization: Bearer $(go tool lab token --scope platforms:read)" \
    http://localhost:8080/api/platforms`,
		run: func(ctx context.Context, l *lab, _ []string) error {
			if rotate {
				kid, err := askIssuer(ctx, "/rotate", nil, "kid")
				if err == nil {
					fmt.Fprintf(l.out, "the issuer signs with its new key %s\n", kid)
				}
				return err
			}
			token, err := askIssuer(ctx, "/token", url.Values{"scope": {strings.ReplaceAll(scope, ",", " ")}, "client_id": {subject}}, "access_token")
			if err == nil {
				fmt.Fprintln(l.out, token)
			}
			return err
		},
	}
	v.flags.StringVar(&scope, "scope", strings.Join(issuer.Scopes(), ","), "what the token allows: `SCOPES` separated by commas")
	v.flags.StringVar(&subject, "subject", "learner", "the `NAME` of whom the token is for")
	v.flags.BoolVar(&rotate, "rotate", false, "let the issuer sign with a new key, and print no token")
	return v
}

// askIssuer sends a POST to the issuer, and returns a member of its response.
func askIssuer(ctx context.Context, path string, query url.Values, member string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := issuerEndpoint()
	status, body, err := request(ctx, at.address(), "POST", path+"?"+query.Encode(), "")
	if err != nil {
		return "", fmt.Errorf("no issuer at %s (%s): go tool lab run final --auth starts one: %w", at.address(), at.setting, err)
	}
	var response map[string]any
	if err := json.Unmarshal([]byte(body), &response); err != nil {
		return "", fmt.Errorf("%s is no issuer: %s", at.address(), status)
	}
	if value, ok := response[member].(string); ok && strings.HasPrefix(status, "200") {
		return value, nil
	}
	description, _ := response["error_description"].(string)
	return "", errors.New(cmp.Or(description, status))
}

// guard has the services accept the tokens of an issuer that lab starts. The caller
// must call the function that it returns.
func (f *fleet) guard() (stop func(), err error) {
	if !f.stage.Has("internal/web/access.go") {
		return nil, usageError(fmt.Sprintf("%s has no access control: final does", f.stage.Name))
	}
	for _, name := range []string{"AUTH_JWKS_URL", "AUTH_TOKEN_TYPE", "AUTH_CA_FILE"} { // another issuer's
		if os.Getenv(name) != "" {
			return nil, fmt.Errorf("%s is set, but --auth brings its own issuer: unset it", name)
		}
	}
	at := issuerEndpoint()
	i, err := issuer.Start(at.address())
	if err != nil {
		return nil, fmt.Errorf("%w; %s moves it", err, at.setting)
	}
	token, err := i.Token("lab", issuer.Scopes()...)
	file := filepath.Join(f.dir, "console-token")
	if err == nil {
		err = os.WriteFile(file, []byte(token), 0o600)
	}
	if err != nil {
		i.Close()
		return nil, fmt.Errorf("a token for the console: %w", err)
	}
	f.env = append(f.env, i.Settings()...)
	f.env = withDefault(f.env, "CONSOLE_TOKEN_FILE", file)
	f.headers = []string{"Authorization: Bearer " + token}
	return i.Close, nil
}
