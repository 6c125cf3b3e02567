package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestControlOffersWhatTheStageHas(t *testing.T) {
	k := newControl(&console{secret: "s3cret", poison: "poison", fleet: &fleet{services: []*service{
		{title: "CommandsService", binary: "commandsservice"}, {title: "PlatformService", binary: "platformservice"},
	}}}, "localhost:7000")
	status, body := ask(t, k, "GET", "/control/faults", "Bearer s3cret", "")
	if status != http.StatusOK || !strings.Contains(body, `{"action":"kill","part":"commandsservice","title":"Kill CommandsService"}`) {
		t.Errorf("got %d %s, want the kill of CommandsService", status, body)
	}
	for _, missing := range []string{`"broker"`, `"slow"`, `"dead-letters"`} {
		if strings.Contains(body, missing) {
			t.Errorf("%s is offered, which this system can't do: %s", missing, body)
		}
	}
}

func TestControlRefuses(t *testing.T) {
	const secret = "Bearer s3cret"
	kill := `{"action":"kill","part":"commandsservice"}`
	for what, row := range map[string]struct {
		method, path, authorization, body string
		status                            int
	}{
		"no secret":                   {"POST", "/control/faults", "", kill, 401},
		"another secret":              {"POST", "/control/faults", "Bearer secret", kill, 401},
		"no secret to read":           {"GET", "/control/faults", "", "", 401},
		"another path":                {"POST", "/control/x", secret, kill, 404},
		"another method":              {"DELETE", "/control/faults", secret, "", 405},
		"no JSON":                     {"POST", "/control/faults", secret, "kill", 400},
		"too much":                    {"POST", "/control/faults", secret, `{"action":"` + strings.Repeat("x", 5000) + `"}`, 400},
		"an unknown action":           {"POST", "/control/faults", secret, `{"action":"fly","part":"commandsservice"}`, 400},
		"an unknown part":             {"POST", "/control/faults", secret, `{"action":"kill","part":"console"}`, 400},
		"a part that has not started": {"POST", "/control/faults", secret, kill, 409},
	} {
		t.Run(what, func(t *testing.T) {
			k := newControl(&console{secret: "s3cret", fleet: &fleet{services: []*service{{title: "CommandsService", binary: "commandsservice"}}}}, "localhost:7000")
			k.ctx = t.Context()
			if status, body := ask(t, k, row.method, row.path, row.authorization, row.body); status != row.status {
				t.Errorf("got %d %s, want %d", status, body, row.status)
			}
		})
	}
}

func ask(t *testing.T, k *control, method, path, authorization, body string) (status int, text string) {
	t.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response := httptest.NewRecorder()
	k.ServeHTTP(response, request)
	return response.Code, response.Body.String()
}
