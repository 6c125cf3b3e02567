package platformservice

import (
	"context"
	"database/sql"
	"fmt"
)

func (s *sqlServerStore) platformsAfter(ctx context.Context, id int32, limit int) (platforms []platform, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx,
			`SELECT TOP (@limit) Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id > @id ORDER BY Id`,
			sql.Named("limit", limit), sql.Named("id", id))
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, err = scanPlatforms(rows)
		return err
	})
	return platforms, err
}
