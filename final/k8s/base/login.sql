-- Run by sqlcmd, which puts in the values of the environment variables DB_PASSWORD and
-- COMMANDS_DB_PASSWORD. Each service has a database and a login of its own, which gets
-- rows there, and tables for its migrations. Not: users, backups, other databases.
-- READ_COMMITTED_SNAPSHOT lets queries read the rows as they were last committed. Without
-- it, a replica that is suspended in the middle of a POST keeps the others from reading.
-- In a database that lacks it, ROLLBACK IMMEDIATE ends the transactions under way, once.
IF DB_ID(N'platformsdb') IS NULL
  CREATE DATABASE platformsdb;
GO
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = N'platformsdb' AND is_read_committed_snapshot_on = 0)
  ALTER DATABASE platformsdb SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE;
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
ELSE
  ALTER USER platformservice WITH LOGIN = platformservice; -- a database restored from another server has that one's
ALTER ROLE db_datareader ADD MEMBER platformservice;
ALTER ROLE db_datawriter ADD MEMBER platformservice;
ALTER ROLE db_ddladmin ADD MEMBER platformservice;
GO

IF DB_ID(N'commandsdb') IS NULL
  CREATE DATABASE commandsdb;
GO
IF EXISTS (SELECT 1 FROM sys.databases WHERE name = N'commandsdb' AND is_read_committed_snapshot_on = 0)
  ALTER DATABASE commandsdb SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE;
GO
IF SUSER_ID(N'commandsservice') IS NULL
  CREATE LOGIN commandsservice WITH PASSWORD = N'$(COMMANDS_DB_PASSWORD)', DEFAULT_DATABASE = commandsdb;
ELSE
  ALTER LOGIN commandsservice WITH PASSWORD = N'$(COMMANDS_DB_PASSWORD)';
GO
USE commandsdb;
GO
IF USER_ID(N'commandsservice') IS NULL
  CREATE USER commandsservice FOR LOGIN commandsservice;
ELSE
  ALTER USER commandsservice WITH LOGIN = commandsservice; -- a database restored from another server has that one's
ALTER ROLE db_datareader ADD MEMBER commandsservice;
ALTER ROLE db_datawriter ADD MEMBER commandsservice;
ALTER ROLE db_ddladmin ADD MEMBER commandsservice;
GO
