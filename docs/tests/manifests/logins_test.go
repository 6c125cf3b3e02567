package manifests

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

var (
	sqlServerURL = regexp.MustCompile(`^sqlserver://([^:]+):.*[?&]database=(\w+)`)
	memberOf     = regexp.MustCompile(`ALTER ROLE (\w+) ADD MEMBER (\w+);`)
)

// logins: a service uses a database of its own, by a login of its own, which may
// do what a service has to and no more.
func (s *set) logins() {
	var script strings.Builder
	for _, o := range s.others {
		if config, ok := o.(*corev1.ConfigMap); ok {
			for _, text := range config.Data {
				script.WriteString(text)
			}
		}
	}
	usedBy := map[string]string{}
	for _, w := range s.workloads {
		for _, c := range w.template.Spec.Containers {
			for _, env := range c.Env {
				match := sqlServerURL.FindStringSubmatch(env.Value)
				if match == nil {
					continue
				}
				login, database := match[1], match[2]
				if other := usedBy[database]; other != "" {
					s.complain("%s and %s share the database %s", w.title, other, database)
				}
				usedBy[database] = w.title
				if !strings.Contains(script.String(), "CREATE DATABASE "+database+";") {
					s.complain("%s: nothing creates the database %s", w.title, database)
				}
				if s.stage.name == "final" && !strings.Contains(script.String(), "ALTER DATABASE "+database+" SET READ_COMMITTED_SNAPSHOT ON") {
					s.complain("%s: readers of the database %s wait for writers", w.title, database)
				}
				if !strings.Contains(script.String(), "CREATE LOGIN "+login+" WITH ") {
					s.complain("%s: nothing creates the login %s", w.title, login)
				}
				var roles []string
				for _, member := range memberOf.FindAllStringSubmatch(script.String(), -1) {
					if member[2] == login {
						roles = append(roles, member[1])
					}
				}
				slices.Sort(roles)
				if !slices.Equal(roles, []string{"db_datareader", "db_datawriter", "db_ddladmin"}) {
					s.complain("%s: its login %s has the roles %v", w.title, login, roles)
				}
			}
		}
	}
}
