-- +goose Up
CREATE TABLE dbo.Platforms (
	Id         int IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Platforms PRIMARY KEY, -- internal; to others, ExternalId is a platform's id
	ExternalId int NOT NULL CONSTRAINT UQ_Platforms_ExternalId UNIQUE,
	Name       nvarchar(max) NOT NULL
);
CREATE TABLE dbo.Commands (
	Id          int IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Commands PRIMARY KEY,
	HowTo       nvarchar(max) NOT NULL,
	CommandLine nvarchar(max) NOT NULL,
	PlatformId  int NOT NULL CONSTRAINT FK_Commands_Platforms REFERENCES dbo.Platforms (Id)
);
CREATE INDEX IX_Commands_PlatformId ON dbo.Commands (PlatformId);

-- +goose Down
DROP TABLE dbo.Commands;
DROP TABLE dbo.Platforms;
