package commandsservice

// The types here are the contract with the outside. platform and command never
// leave the service themselves.

// platformRead is a platform as the service answers it.
type platformRead struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

func toPlatformRead(p platform) platformRead {
	return platformRead{ID: p.ExternalID, Name: p.Name}
}

func toPlatformReads(platforms []platform) []platformRead {
	reads := make([]platformRead, 0, len(platforms)) // not nil: JSON wants [], not null
	for _, p := range platforms {
		reads = append(reads, toPlatformRead(p))
	}
	return reads
}

// platformCreate is what PlatformService sends of a new platform, as far as it
// matters here.
type platformCreate struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

// validate returns what is wrong, by field. It is empty when nothing is.
func (c platformCreate) validate() fieldErrors {
	errs := fieldErrors{}
	if c.ID < 1 {
		errs.add("id", "must be a positive 32-bit integer")
	}
	errs.requireText("name", c.Name)
	return errs
}

func (c platformCreate) toPlatform() platform {
	return platform{ExternalID: c.ID, Name: c.Name}
}

// commandRead is a command as the service answers it.
type commandRead struct {
	ID          int32  `json:"id"`
	HowTo       string `json:"howTo"`
	CommandLine string `json:"commandLine"`
	PlatformID  int32  `json:"platformId"`
}

func toCommandRead(c command) commandRead {
	return commandRead{ID: c.ID, HowTo: c.HowTo, CommandLine: c.CommandLine, PlatformID: c.PlatformID}
}

func toCommandReads(commands []command) []commandRead {
	reads := make([]commandRead, 0, len(commands))
	for _, c := range commands {
		reads = append(reads, toCommandRead(c))
	}
	return reads
}

// commandCreate is what a client sends to create a command.
type commandCreate struct {
	HowTo       string `json:"howTo"`
	CommandLine string `json:"commandLine"`
}

// validate returns what is wrong, by field. It is empty when nothing is.
func (c commandCreate) validate() fieldErrors {
	errs := fieldErrors{}
	errs.requireText("howTo", c.HowTo)
	errs.requireText("commandLine", c.CommandLine)
	return errs
}

func (c commandCreate) toCommand(platformID int32) command {
	return command{HowTo: c.HowTo, CommandLine: c.CommandLine, PlatformID: platformID}
}
