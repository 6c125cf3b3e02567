package commandsservice

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// The types here are the service's external contract. The models, platform and
// command, are never sent to a client.

// platformRead is a platform in a response.
type platformRead struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

func toPlatformRead(p platform) platformRead {
	return platformRead{ID: p.ExternalID, Name: p.Name}
}

func toPlatformReads(platforms []platform) []platformRead {
	reads := make([]platformRead, 0, len(platforms)) // not nil, which JSON shows as null instead of []
	for _, p := range platforms {
		reads = append(reads, toPlatformRead(p))
	}
	return reads
}

// platformCreate is the body that PlatformService sends for a new platform, as
// far as it matters here.
type platformCreate struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

func (c platformCreate) validate() error { return c.toPlatform().validate() }

func (c platformCreate) toPlatform() platform {
	return platform{ExternalID: c.ID, Name: c.Name}
}

// commandRead is a command in a response.
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

// commandCreate is the body of a request that creates a command.
type commandCreate struct {
	HowTo       string `json:"howTo"`
	CommandLine string `json:"commandLine"`
}

func (c commandCreate) validate() error { return c.toCommand(0).validate() } // the platform is not validated here

func (c commandCreate) toCommand(platformID int32) command {
	return command{HowTo: c.HowTo, CommandLine: c.CommandLine, PlatformID: platformID}
}

// maxEvent is the size of the largest event that is accepted, in bytes.
const maxEvent = 64 << 10

// errOtherEvent is returned for an event that this service does not handle.
var errOtherEvent = errors.New("not a Platform_Published event")

// decodePlatformPublished decodes the event that reports a new platform:
//
//	{"Id":4,"Name":"x","Event":"Platform_Published"}
//
// It returns errOtherEvent for an event of another type, and other errors for
// a body that is not an event or has no valid platform.
func decodePlatformPublished(body []byte) (platform, error) {
	if len(body) > maxEvent {
		return platform{}, fmt.Errorf("larger than %d bytes", maxEvent)
	}
	if !utf8.Valid(body) {
		return platform{}, errors.New("not valid UTF-8")
	}
	var envelope struct{ Event string }
	if err := json.Unmarshal(body, &envelope); err != nil {
		return platform{}, fmt.Errorf("not a JSON event: %.200v", err) // it may quote a long value
	}
	if envelope.Event == "" { // for example, the body null
		return platform{}, errors.New("not an event: Event is missing")
	}
	if envelope.Event != "Platform_Published" {
		return platform{}, fmt.Errorf("%w but %.40q", errOtherEvent, envelope.Event)
	}
	var event struct { // only now: the fields of other events may have other types
		ID   int32 `json:"Id"`
		Name string
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return platform{}, fmt.Errorf("not a platform: %.200v", err)
	}
	p := platform{ExternalID: event.ID, Name: event.Name}
	return p, p.validate()
}
