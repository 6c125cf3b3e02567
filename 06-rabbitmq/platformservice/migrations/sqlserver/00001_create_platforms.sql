-- The table as Entity Framework creates it for the .NET service, so that either
-- service can take over the other's database.

-- +goose Up
IF OBJECT_ID(N'dbo.Platforms') IS NULL
CREATE TABLE dbo.Platforms (
	Id        int IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Platforms PRIMARY KEY,
	Name      nvarchar(max) NOT NULL,
	Publisher nvarchar(max) NOT NULL,
	Cost      nvarchar(max) NOT NULL
);

-- +goose Down
DROP TABLE dbo.Platforms;
