-- Times are UTC, by the database's clock.

-- +goose Up
CREATE TABLE dbo.Outbox (
	Id          bigint IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Outbox PRIMARY KEY, -- the order in which events are published
	MessageId   char(36) NOT NULL CONSTRAINT UQ_Outbox_MessageId UNIQUE,
	Type        nvarchar(100) NOT NULL,
	Body        varbinary(max) NOT NULL,
	TraceParent varchar(512) NOT NULL,
	TraceState  varchar(512) NOT NULL,
	CreatedAt   datetime2(3) NOT NULL CONSTRAINT DF_Outbox_CreatedAt DEFAULT SYSUTCDATETIME(),
	PublishedAt datetime2(3) NULL -- NULL: pending
);
-- With PublishedAt, or SQL Server reads the table to see that it is NULL.
CREATE INDEX IX_Outbox_Pending ON dbo.Outbox (Id) INCLUDE (CreatedAt, PublishedAt) WHERE PublishedAt IS NULL;

-- One row: which relay may publish, and until when.
CREATE TABLE dbo.RelayLease (
	Id        int NOT NULL CONSTRAINT PK_RelayLease PRIMARY KEY CONSTRAINT CK_RelayLease CHECK (Id = 1),
	Owner     nvarchar(100) NOT NULL,
	ExpiresAt datetime2 NOT NULL
);
INSERT INTO dbo.RelayLease (Id, Owner, ExpiresAt) VALUES (1, N'', '1970-01-01');

-- Binary, because text is compared without regard to case and to trailing blanks.
CREATE TABLE dbo.IdempotencyKeys (
	IdempotencyKey varbinary(255) NOT NULL CONSTRAINT PK_IdempotencyKeys PRIMARY KEY,
	Fingerprint    binary(32) NOT NULL, -- of the request
	PlatformId     int NOT NULL,
	CreatedAt      datetime2(3) NOT NULL CONSTRAINT DF_IdempotencyKeys_CreatedAt DEFAULT SYSUTCDATETIME()
);
CREATE INDEX IX_IdempotencyKeys_CreatedAt ON dbo.IdempotencyKeys (CreatedAt);

-- +goose Down
DROP TABLE dbo.IdempotencyKeys;
DROP TABLE dbo.RelayLease;
DROP TABLE dbo.Outbox;
