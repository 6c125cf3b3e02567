// Package platformservice is the service that owns the platforms: each has a
// name, a publisher and a cost. Each file holds one component and is named
// after it; start with service.go.
package platformservice

import "microcomm/final/internal/web"

// maxText is the maximum number of characters (Unicode code points) in a field.
const maxText = 500

// platform is one platform as the service keeps it: the model. What others see
// of it is in dto.go.
type platform struct {
	ID        int32 // assigned by the store, 1 or more
	Name      string
	Publisher string
	Cost      string // text: "Free" is a cost
}

// validate returns FieldErrors when a field breaks a rule of the model. The ID
// is not checked: the store assigns it.
func (p platform) validate() error {
	errs := web.FieldErrors{}
	errs.CheckText("name", p.Name, maxText)
	errs.CheckText("publisher", p.Publisher, maxText)
	errs.CheckText("cost", p.Cost, maxText)
	return errs.OrNil()
}
