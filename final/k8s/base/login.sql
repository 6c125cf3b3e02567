-- Run by sqlcmd, which puts in the value of the environment variable DB_PASSWORD.
IF DB_ID(N'platformsdb') IS NULL
  CREATE DATABASE platformsdb;
GO
IF SUSER_ID(N'platformservice') IS NULL
  CREATE LOGIN platformservice WITH PASSWORD = N'$(DB_PASSWORD)', DEFAULT_DATABASE = platformsdb;
ELSE
  ALTER LOGIN platformservice WITH PASSWORD = N'$(DB_PASSWORD)';
GO
USE platformsdb;
GO
IF USER_ID(N'platformservice') IS NULL
  CREATE USER platformservice FOR LOGIN platformservice;
-- Rows, and for its migrations tables. Not: users, backups, other databases.
ALTER ROLE db_datareader ADD MEMBER platformservice;
ALTER ROLE db_datawriter ADD MEMBER platformservice;
ALTER ROLE db_ddladmin ADD MEMBER platformservice;
GO
