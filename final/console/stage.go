package console

// describe returns what is watched, and what of it can be seen.
func (s *service) describe() runContent {
	return runContent{
		Stage: s.cfg.Stage,
		Title: "final, in one process",
		Parts: []part{
			{ID: "client", Title: "Client"}, {ID: "gateway", Title: "Gateway"},
			{ID: "platformservice", Title: "PlatformService"}, {ID: "platforms-db", Title: "its database"},
			{ID: "outbox", Title: "Outbox"}, {ID: "relay", Title: "Relay"},
			{ID: "broker", Title: "Bus in memory"}, {ID: "exchange", Title: "Exchange"},
			{ID: "commandsservice", Title: "CommandsService"}, {ID: "commands-db", Title: "its database"},
			{ID: "dead-letters", Title: "Dead letters"}, {ID: "console", Title: "Console"},
		},
		Sees:      []string{"spans"},
		CannotSee: []cannotSee{},
	}
}
