-- +goose Up
CREATE TABLE IF NOT EXISTS platforms (
	id        INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never given twice
	name      TEXT NOT NULL,
	publisher TEXT NOT NULL,
	cost      TEXT NOT NULL
);

-- +goose Down
DROP TABLE platforms;
