// Package platformservice is the service that owns the platforms: each has a
// name, a publisher and a cost. The files are named after what they hold; start
// with service.go.
package platformservice

// platform is one platform as the service keeps it. How it looks to others is
// in dto.go.
type platform struct {
	ID        int32 // given by the store, 1 or more
	Name      string
	Publisher string
	Cost      string // a text: "Free" is a cost
}
