package platformservice

import "context"

// seed stores some example platforms in an empty store, for development.
func seed(ctx context.Context, store platformStore) error {
	return store.createIfEmpty(ctx, []platform{
		{Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"},
		{Name: "SQL Server Express", Publisher: "Microsoft", Cost: "Free"},
		{Name: "Kubernetes", Publisher: "Cloud Native Computing Foundation", Cost: "Free"},
	})
}
