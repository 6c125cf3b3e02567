// Package commandsservice is the service that keeps command lines, for each
// platform that it knows. Each file holds one component and is named after it;
// start with service.go.
package commandsservice

import "microcomm/final/internal/web"

// The maximum number of characters (Unicode code points) in a field.
const (
	maxName        = 500
	maxHowTo       = 2000
	maxCommandLine = 8000
)

// platform is a platform as this service knows it, from PlatformService.
type platform struct {
	ExternalID int32 // the id that PlatformService assigned; the only one that others see
	Name       string
}

// validate returns FieldErrors when a field breaks a rule of the model.
func (p platform) validate() error {
	errs := web.FieldErrors{}
	if p.ExternalID < 1 {
		errs.Add("id", "must be a positive 32-bit integer")
	}
	errs.CheckText("name", p.Name, maxName)
	return errs.OrNil()
}

// command is one command line of a platform.
type command struct {
	ID          int32 // assigned by the store, 1 or more
	HowTo       string
	CommandLine string
	PlatformID  int32 // the platform's ExternalID; the database translates it
}

// validate returns FieldErrors when a field breaks a rule of the model. The ids
// are not checked: the store assigns one, and looks the other up.
func (c command) validate() error {
	errs := web.FieldErrors{}
	errs.CheckText("howTo", c.HowTo, maxHowTo)
	errs.CheckText("commandLine", c.CommandLine, maxCommandLine)
	return errs.OrNil()
}
