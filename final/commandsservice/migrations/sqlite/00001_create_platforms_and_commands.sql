-- IF NOT EXISTS: a file of a release without migrations is taken over.

-- +goose Up
CREATE TABLE IF NOT EXISTS platforms (
	id          INTEGER PRIMARY KEY AUTOINCREMENT, -- internal; to others, external_id is a platform's id
	external_id INTEGER NOT NULL UNIQUE,
	name        TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS commands (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	how_to       TEXT NOT NULL,
	command_line TEXT NOT NULL,
	platform_id  INTEGER NOT NULL REFERENCES platforms (id)
);
CREATE INDEX IF NOT EXISTS commands_platform ON commands (platform_id);

-- +goose Down
DROP TABLE commands;
DROP TABLE platforms;
