package platformservice

// The types here are the contract with the outside. A platform never leaves the
// service itself: its fields can change without a client noticing.

// platformRead is a platform as the service answers it.
type platformRead struct {
	ID        int32  `json:"id"`
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

func toPlatformRead(p platform) platformRead {
	return platformRead{ID: p.ID, Name: p.Name, Publisher: p.Publisher, Cost: p.Cost}
}

func toPlatformReads(platforms []platform) []platformRead {
	reads := make([]platformRead, 0, len(platforms)) // not nil: JSON wants [], not null
	for _, p := range platforms {
		reads = append(reads, toPlatformRead(p))
	}
	return reads
}

// platformCreate is what a client sends to create a platform.
type platformCreate struct {
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

// validate returns what is wrong, by field. It is empty when nothing is.
func (c platformCreate) validate() fieldErrors {
	errs := fieldErrors{}
	errs.requireText("name", c.Name)
	errs.requireText("publisher", c.Publisher)
	errs.requireText("cost", c.Cost)
	return errs
}

func (c platformCreate) toPlatform() platform {
	return platform{Name: c.Name, Publisher: c.Publisher, Cost: c.Cost}
}
