-- CreatedAt is UTC, by the database's clock.

-- +goose Up
-- Binary, because text is compared without regard to case and to trailing blanks.
CREATE TABLE dbo.IdempotencyKeys (
	IdempotencyKey varbinary(255) NOT NULL CONSTRAINT PK_IdempotencyKeys PRIMARY KEY,
	Fingerprint    binary(32) NOT NULL, -- of the request
	CommandId      int NOT NULL,
	CreatedAt      datetime2(3) NOT NULL CONSTRAINT DF_IdempotencyKeys_CreatedAt DEFAULT SYSUTCDATETIME()
);
CREATE INDEX IX_IdempotencyKeys_CreatedAt ON dbo.IdempotencyKeys (CreatedAt);

-- +goose Down
DROP TABLE dbo.IdempotencyKeys;
