package platformservice

// The types here are the service's external contract. The model, platform, is
// never sent to a client, so its fields can change without a client noticing.

// platformRead is a platform in a response.
type platformRead struct {
	ID        int32  `json:"id"`
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

func (p platformRead) ItemID() int32 { return p.ID }

func toPlatformRead(p platform) platformRead {
	return platformRead{ID: p.ID, Name: p.Name, Publisher: p.Publisher, Cost: p.Cost}
}

func toPlatformReads(platforms []platform) []platformRead {
	reads := make([]platformRead, 0, len(platforms)) // not nil, which JSON shows as null instead of []
	for _, p := range platforms {
		reads = append(reads, toPlatformRead(p))
	}
	return reads
}

// platformCreate is the body of a request that creates a platform.
type platformCreate struct {
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

func (c platformCreate) Validate() error { return c.toPlatform().validate() }

func (c platformCreate) toPlatform() platform {
	return platform{Name: c.Name, Publisher: c.Publisher, Cost: c.Cost}
}
