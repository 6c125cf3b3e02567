package commandsservice

import (
	"context"
	"slices"
)

// upsertEach stores platforms with as few calls of upsertPlatforms as can be: one
// that fails is done again for each half, so that a platform which the database
// refuses does not keep out the others. It returns how many were new or had
// another name, and an error for each that was not stored.
func upsertEach(ctx context.Context, store commandStore, platforms []platform) (stored int, errs []error) {
	stored, err := store.upsertPlatforms(ctx, platforms)
	switch {
	case err == nil:
		return stored, make([]error, len(platforms))
	case len(platforms) == 1, ctx.Err() != nil, databaseUnavailable(err):
		return 0, slices.Repeat([]error{err}, len(platforms))
	}
	half := len(platforms) / 2
	stored, errs = upsertEach(ctx, store, platforms[:half])
	more, others := upsertEach(ctx, store, platforms[half:])
	return stored + more, append(errs, others...)
}
