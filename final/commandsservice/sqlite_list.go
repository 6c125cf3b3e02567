package commandsservice

import (
	"context"
	"fmt"
)

func (s *sqliteStore) platformsAfter(ctx context.Context, externalID int32, limit int) ([]platform, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	// WithoutCancel: for a context that can end, database/sql and the driver start
	// goroutines, which take longer than the rows do. The file is local, and there
	// are no more rows than are in memory.
	rows, err := s.db.QueryContext(context.WithoutCancel(ctx),
		`SELECT external_id, name FROM platforms WHERE external_id > ? ORDER BY external_id LIMIT ?`, externalID, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows, limit)
}

func (s *sqliteStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) ([]command, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	rows, err := s.db.QueryContext(context.WithoutCancel(ctx), `
		SELECT c.id, c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? AND c.id > ? ORDER BY c.id LIMIT ?`, platformID, id, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	commands, more, err := scanCommands(rows, platformID, limit)
	if err == nil && len(commands) == 0 {
		_, err = s.platform(ctx, platformID) // none, or no such platform
	}
	return commands, more, err
}
