package manifests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// composeFile is what is checked of a compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Image       string            `json:"image"`
		Environment map[string]string `json:"environment"`
		Ports       []string          `json:"ports"`
		Volumes     []string          `json:"volumes"`
		Privileged  bool              `json:"privileged"`
		ReadOnly    bool              `json:"read_only"`
		StopGrace   string            `json:"stop_grace_period"`
		MemLimit    string            `json:"mem_limit"`
		HealthCheck *struct{}         `json:"healthcheck"`
		DependsOn   map[string]struct {
			Condition string `json:"condition"`
		} `json:"depends_on"`
	} `json:"services"`
	Volumes map[string]any `json:"volumes"`
}

var fromEnvironment = regexp.MustCompile(`^\$\{[A-Z_]+(:\?[^}]*)?\}$`)

func checkCompose(from stage, text []byte) ([]string, error) {
	var file composeFile
	if err := yaml.Unmarshal(text, &file); err != nil {
		return nil, err
	}
	var problems []string
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	for name, service := range file.Services {
		own := strings.HasPrefix(service.Image, "microcomm/")
		if _, tag, found := strings.Cut(service.Image, ":"); !found || tag == "latest" {
			complain("%s: image %q does not say which version", name, service.Image)
		}
		if service.Privileged {
			complain("%s is privileged", name)
		}
		if own && !service.ReadOnly {
			complain("%s: its root file system can be written to", name)
		}
		if own {
			if problem := goMemory(service.Environment["GOMEMLIMIT"], strings.TrimSuffix(service.MemLimit, "m")+"Mi"); problem != "" {
				complain("%s: %s", name, problem)
			}
		}
		if grace, err := time.ParseDuration(service.StopGrace); own && (err != nil || grace < (stopLimit+stopRoom)*time.Second) {
			complain("%s: stop_grace_period leaves no time to finish", name)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				complain("%s: port %s is open to the network", name, port)
			}
		}
		for _, volume := range service.Volumes {
			volume, _, _ = strings.Cut(volume, ":")
			if _, ok := file.Volumes[volume]; !ok && !strings.HasPrefix(volume, "${") { // a file that the user names
				complain("%s: there is no volume %s", name, volume)
			}
		}
		for variable, value := range service.Environment {
			if (strings.Contains(variable, "PASSWORD") || strings.HasSuffix(variable, "_PASS")) && !fromEnvironment.MatchString(value) {
				complain("%s: %s is written down", name, variable)
			}
			if variable == "COMMANDS_SERVICE_URL" {
				complain("%s: a POST waits for CommandsService", name)
			}
			if own && !from.reads(service.Image, variable) {
				complain("%s does not read %s", name, variable)
			}
			for _, match := range slices.Concat(urlHost.FindAllStringSubmatch(value, -1), hostPort.FindAllStringSubmatch(value, -1)) {
				if _, ok := file.Services[match[1]]; !ok {
					complain("%s, %s: there is no service %s", name, variable, match[1])
				}
			}
		}
		for other, on := range service.DependsOn {
			needed, ok := file.Services[other]
			switch {
			case !ok:
				complain("%s: there is no service %s to wait for", name, other)
			case on.Condition == "service_healthy" && needed.HealthCheck == nil:
				complain("%s waits for the health of %s, which has no health check", name, other)
			case on.Condition == "" || on.Condition == "service_started":
				complain("%s does not wait until %s is of use", name, other)
			}
		}
	}
	return problems, nil
}

func TestCompose(t *testing.T) {
	final := stage{"final", filepath.Join(root, "final")}
	text, err := os.ReadFile(filepath.Join(final.dir, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	problems, err := checkCompose(final, text)
	if err != nil || len(problems) > 0 {
		t.Errorf("got %v %q, want no problems", err, problems)
	}
	for name, tt := range map[string]struct{ old, new, want string }{
		"open port":       {"- 127.0.0.1:${PLATFORMS_PORT:-5000}:8080", "- ${PLATFORMS_PORT:-5000}:8080", "is open to the network"},
		"latest":          {"rabbitmq:4-management", "rabbitmq:latest", "does not say which version"},
		"password":        {"${RABBITMQ_PASSWORD:?see the top of compose.yaml}", "guest", "RABBITMQ_DEFAULT_PASS is written down"},
		"host":            {"platformservice:7777", "platforms:7777", "there is no service platforms"},
		"setting":         {"PLATFORMS_GRPC_TARGET", "PLATFORM_GRPC_TARGET", "does not read PLATFORM_GRPC_TARGET"},
		"no health check": {"healthcheck:", "x-healthcheck:", "has no health check"},
		"order":           {"condition: service_healthy", "condition: service_started", "is of use"},
		"call":            {"PLATFORMS_GRPC_ADDR:", "COMMANDS_SERVICE_URL:", "a POST waits for CommandsService"},
		"stop":            {"stop_grace_period: 30s", "stop_grace_period: 10s", "leaves no time to finish"},
		"no Go limit":     {"      GOMEMLIMIT: 115MiB\n", "", "GOMEMLIMIT is not set"},
		"other limit":     {"mem_limit: 128m", "mem_limit: 96m", "GOMEMLIMIT=115MiB is not 85 to 95% of the limit 96Mi"},
		"volume":          {"- rabbitmq:/var", "- rabbit:/var", "there is no volume rabbit"},
	} {
		t.Run(name, func(t *testing.T) {
			broken := strings.Replace(string(text), tt.old, tt.new, 1)
			problems, err := checkCompose(final, []byte(broken))
			if got := strings.Join(problems, "\n"); err != nil || broken == string(text) || !strings.Contains(got, tt.want) {
				t.Errorf("got %v %q, want a problem with %q", err, got, tt.want)
			}
		})
	}
}
