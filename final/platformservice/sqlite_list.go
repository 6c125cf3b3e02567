package platformservice

import (
	"context"
	"fmt"
)

func (s *sqliteStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT id, name, publisher, cost FROM platforms WHERE id > ? ORDER BY id LIMIT ?`, id, limit)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows)
}
