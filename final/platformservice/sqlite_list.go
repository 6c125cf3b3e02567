package platformservice

import (
	"context"
	"fmt"
)

func (s *sqliteStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	// WithoutCancel: as for one platform. There are no more rows than are in memory.
	rows, err := s.selectAfter.QueryContext(context.WithoutCancel(ctx), id, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows, limit)
}
