package commandsservice

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

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

// errOtherEvent is returned for an event that is none of ours.
var errOtherEvent = errors.New("not a Platform_Published event")

// decodePlatformPublished reads the event that says a platform was created:
//
//	{"Id":4,"Name":"x","Event":"Platform_Published"}
//
// It returns errOtherEvent for an event of another type, and other errors for
// what is no event, or lacks a positive 32-bit id or a name.
func decodePlatformPublished(body []byte) (platform, error) {
	var event struct {
		ID    json.RawMessage `json:"Id"` // read only once the type is known
		Name  json.RawMessage `json:"Name"`
		Event string          `json:"Event"`
	}
	if !isText(body) {
		return platform{}, errors.New("not valid Unicode")
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return platform{}, fmt.Errorf("not a JSON event: %w", err)
	}
	if event.Event == "" { // null, for one
		return platform{}, errors.New("not an event: Event is missing")
	}
	if event.Event != "Platform_Published" {
		return platform{}, fmt.Errorf("%w but %q", errOtherEvent, event.Event)
	}
	var p platform
	if json.Unmarshal(event.ID, &p.ExternalID) != nil || p.ExternalID < 1 {
		return platform{}, fmt.Errorf("Id is not a positive 32-bit integer: %.40q", event.ID)
	}
	if json.Unmarshal(event.Name, &p.Name) != nil || strings.TrimSpace(p.Name) == "" {
		return platform{}, fmt.Errorf("Name is not a text: %.40q", event.Name)
	}
	return p, nil
}
