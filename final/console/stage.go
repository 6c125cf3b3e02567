package console

import (
	"net"
	"net/url"
)

// describe returns what is watched, and what of it can be seen.
func (s *service) describe() runContent {
	content := runContent{Stage: s.cfg.Stage, Title: "Chapter " + s.cfg.Stage, CannotSee: []cannotSee{}}
	add := func(id, title string) { content.Parts = append(content.Parts, part{ID: id, Title: title}) }
	addReplicated := func(id, title string, of []target) {
		content.Parts = append(content.Parts, part{ID: id, Title: title, Replicas: len(of)})
	}
	final := s.cfg.Stage == "final"
	events := s.cfg.Stage != "02"
	oneProcess := s.watched.Queues != nil

	add("client", "Client")
	if oneProcess {
		add("gateway", "Gateway")
	}
	addReplicated("platformservice", "PlatformService", s.platforms)
	add("platforms-db", "Its database")
	if final {
		add("outbox", "Outbox")
		add("relay", "Relay")
	}
	switch {
	case oneProcess:
		add("broker", "Bus in memory")
	case events:
		add("broker", "RabbitMQ")
	}
	if events {
		add("exchange", "Exchange "+s.cfg.Exchange)
	}
	addReplicated("commandsservice", "CommandsService", s.commands)
	add("commands-db", "Its database")
	if final {
		add("dead-letters", "Dead letters")
	}
	add("console", "Console")

	content.Sees = []string{"probes", "lists"}
	cannot := func(what, why string) { content.CannotSee = append(content.CannotSee, cannotSee{what, why}) }
	switch s.cfg.Stage {
	case "final":
		content.Title = "final, with RabbitMQ"
		if oneProcess {
			content.Title = "final, in one process"
		}
		content.Sees = []string{"spans", "events", "probes", "queues"}
		if s.cfg.anonymous() {
			cannot("what the services' lists say", "access control is on, and CONSOLE_TOKEN_FILE names no token with platforms:read and commands:read")
		} else {
			content.Sees = append(content.Sees, "lists")
		}
		if !oneProcess && (shared(s.platforms) || shared(s.commands)) {
			cannot("each replica of a service", "replicas behind one address, as a Service of Kubernetes has it, are seen as one: name them one by one in PLATFORMS_URL and COMMANDS_URL")
		}
		if s.cfg.measured(s.cfg.PlatformsAdminURL) && s.cfg.measured(s.cfg.CommandsAdminURL) {
			content.Sees = append(content.Sees, "metrics")
		} else {
			cannot("the services' metrics", "access control is on: name the admin ports (PLATFORMS_ADMIN_URL, COMMANDS_ADMIN_URL) or a token (CONSOLE_TOKEN_FILE)")
		}
	case "02":
		cannot("the HTTP call from PlatformService to CommandsService", "chapter 02 has no traces: the console compares the two lists")
		cannot("a part that is not ready", "chapter 02 has no probes: the console asks for a list")
	default:
		content.Sees = []string{"events", "probes", "lists"}
		cannot("what waits in CommandsService's queue", "the broker chose its name, and it belongs to one connection")
		cannot("when CommandsService takes an event", "chapter "+s.cfg.Stage+" has no traces: the console compares the two lists")
	}
	return content
}

// shared reports whether the only address of a service is a name behind which there
// may be several replicas.
func shared(all []target) bool {
	if len(all) != 1 {
		return false
	}
	address, err := url.Parse(all[0].url)
	return err == nil && address.Hostname() != "localhost" && net.ParseIP(address.Hostname()) == nil
}
