package commandsservice

import (
	"context"
	"database/sql"
	"fmt"
)

func (s *sqlServerStore) platformsAfter(ctx context.Context, externalID int32, limit int) (platforms []platform, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx,
			`SELECT TOP (@limit) ExternalId, Name FROM dbo.Platforms WHERE ExternalId > @id ORDER BY ExternalId`,
			sql.Named("limit", limit+1), sql.Named("id", externalID))
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, more, err = scanPlatforms(rows, limit)
		return err
	})
	return platforms, more, err
}

func (s *sqlServerStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) (commands []command, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, `
			SELECT TOP (@limit) c.Id, c.HowTo, c.CommandLine
			FROM dbo.Commands AS c JOIN dbo.Platforms AS p ON p.Id = c.PlatformId
			WHERE p.ExternalId = @platform AND c.Id > @id ORDER BY c.Id`,
			sql.Named("limit", limit+1), sql.Named("platform", platformID), sql.Named("id", id))
		if err != nil {
			return fmt.Errorf("list commands of platform %d: %w", platformID, err)
		}
		commands, more, err = scanCommands(rows, platformID, limit)
		return err
	})
	if err == nil && len(commands) == 0 {
		_, err = s.platform(ctx, platformID) // none, or no such platform
	}
	return commands, more, err
}
