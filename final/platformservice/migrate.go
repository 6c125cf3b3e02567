package platformservice

import "embed"

// migrations holds one folder per dialect.
//
//go:embed migrations
var migrations embed.FS
