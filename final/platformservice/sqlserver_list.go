package platformservice

import (
	"context"
	"database/sql"
	"fmt"
)

func (s *sqlServerStore) platformsAfter(ctx context.Context, id int32, limit int) (platforms []platform, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx,
			`SELECT TOP (@limit) Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id > @id ORDER BY Id`,
			sql.Named("limit", limit+1), sql.Named("id", id))
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, more, err = scanPlatforms(rows, limit)
		return err
	})
	return platforms, more, err
}
