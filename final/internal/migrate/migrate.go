// Package migrate brings the schema of a database up to date.
package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

// Up applies the migrations in dir of files that db has not seen yet. Each runs in
// one transaction with the note that it has been applied.
func Up(ctx context.Context, db *sql.DB, dialect goose.Dialect, files fs.FS, dir string, options ...goose.ProviderOption) error {
	files, err := fs.Sub(files, dir)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	provider, err := goose.NewProvider(dialect, db, files, options...)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}
