-- Times are milliseconds since 1970, by the database's clock.

-- +goose Up
CREATE TABLE IF NOT EXISTS outbox (
	id           INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which events are published
	message_id   TEXT NOT NULL UNIQUE,
	type         TEXT NOT NULL,
	body         BLOB NOT NULL,
	traceparent  TEXT NOT NULL,
	tracestate   TEXT NOT NULL,
	created_at   INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
	published_at INTEGER -- NULL: pending
);
CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (id) WHERE published_at IS NULL;

-- One row: which relay may publish, and until when.
CREATE TABLE IF NOT EXISTS relay_lease (
	id         INTEGER PRIMARY KEY CHECK (id = 1),
	owner      TEXT NOT NULL,
	expires_at INTEGER NOT NULL
);
INSERT OR IGNORE INTO relay_lease (id, owner, expires_at) VALUES (1, '', 0);

CREATE TABLE IF NOT EXISTS idempotency_keys (
	key         TEXT PRIMARY KEY,
	fingerprint BLOB NOT NULL, -- of the request
	platform_id INTEGER NOT NULL,
	created_at  INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS idempotency_keys_created_at ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE relay_lease;
DROP TABLE outbox;
