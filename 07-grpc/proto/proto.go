// Package proto is the gRPC contract between the two services: the file
// platforms.proto and the Go code generated from it (by make proto).
package proto

import _ "embed"

// Source is platforms.proto as text, for clients that generate their own code.
//
//go:embed platforms.proto
var Source string
