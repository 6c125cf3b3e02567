// Package final holds the OpenAPI documents of the services, which lie beside the code
// that they describe.
package final

import (
	_ "embed"

	"microcomm/final/apidoc"
)

// PlatformsAPI is what PlatformService's clients may rely on.
//
//go:embed platformservice/openapi.yaml
var PlatformsAPI []byte

// CommandsAPI is what CommandsService's clients may rely on.
//
//go:embed commandsservice/openapi.yaml
var CommandsAPI []byte

// GatewayAPIs are the APIs at an address that serves all services, without what is not
// routed there.
func GatewayAPIs() []apidoc.API {
	const address, routed = "http://localhost:8080", "/api/"
	return []apidoc.API{
		{Document: PlatformsAPI, Address: address, Only: routed},
		{Document: CommandsAPI, Address: address, Only: routed},
	}
}
