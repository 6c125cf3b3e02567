// Package commandsservice is the service that keeps command lines, for each
// platform that it has heard of. The files are named after what they hold;
// start with service.go.
package commandsservice

// platform is a platform as this service knows it: what PlatformService said.
type platform struct {
	ExternalID int32 // the id that PlatformService gave it; the only one others see
	Name       string
}

// command is one command line of a platform.
type command struct {
	ID          int32 // given by the store, 1 or more
	HowTo       string
	CommandLine string
	PlatformID  int32 // the platform's ExternalID
}
