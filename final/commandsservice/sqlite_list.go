package commandsservice

import (
	"context"
	"fmt"
)

func (s *sqliteStore) platformsAfter(ctx context.Context, externalID int32, limit int) ([]platform, error) {
	rows, err := s.db.QueryContext(ctx,
		`SELECT external_id, name FROM platforms WHERE external_id > ? ORDER BY external_id LIMIT ?`, externalID, limit)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows)
}

func (s *sqliteStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) ([]command, error) {
	rows, err := s.db.QueryContext(ctx, `
		SELECT c.id, c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? AND c.id > ? ORDER BY c.id LIMIT ?`, platformID, id, limit)
	if err != nil {
		return nil, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	commands, err := scanCommands(rows, platformID)
	if err == nil && len(commands) == 0 {
		_, err = s.platform(ctx, platformID) // none, or no such platform
	}
	return commands, err
}
