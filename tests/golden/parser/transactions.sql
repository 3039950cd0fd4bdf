==== BEGIN at the top and COMMIT at the end
-- Deploy users

BEGIN;

SELECT 1;
SELECT 'COMMIT;';

COMMIT;
-- the end
==== BEGIN and COMMIT in other words
/* one */ start  transaction;  SELECT 1; end Work
==== BEGIN with modes
BEGIN ISOLATION LEVEL
  SERIALIZABLE, NOT DEFERRABLE;
SELECT 1;
COMMIT AND NO CHAIN;
==== settings before BEGIN
SET client_min_messages = warning;
\set ON_ERROR_STOP on
BEGIN TRANSACTION;
CREATE TABLE t ();
COMMIT;
==== BEGIN and COMMIT without anything between
BEGIN; COMMIT;
==== BEGIN without COMMIT
BEGIN;
SELECT 1;
==== BEGIN after a statement
SELECT 1;
BEGIN;
SELECT 1;
COMMIT;
==== a statement after COMMIT
BEGIN;
SELECT 1;
COMMIT;
SELECT 1;
==== two transactions
BEGIN;
SELECT 1;
COMMIT;
BEGIN;
SELECT 1;
COMMIT;
==== BEGIN and ROLLBACK
BEGIN;
SELECT 1;
ROLLBACK;
==== the end of a function body is no COMMIT
BEGIN;
CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END;
==== START TRANSACTION
START TRANSACTION;
==== COMMIT
SELECT 1;
COMMIT;
==== END
SELECT 1; END;
==== ROLLBACK
SELECT 1;
  ROLLBACK;
==== ABORT
ABORT;
==== PREPARE TRANSACTION
PREPARE TRANSACTION 'x';
==== COMMIT PREPARED
COMMIT PREPARED 'x';
==== COMMIT AND CHAIN
COMMIT AND CHAIN;
==== savepoints are allowed
SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a;
==== SET TRANSACTION is allowed
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
==== control in a no-transaction file
-- pgdbm:no-transaction
BEGIN; SELECT 1; COMMIT;
==== the directive in the middle
SELECT 1;
-- pgdbm:no-transaction
VACUUM;
==== the directive at the end without a line end
VACUUM;
-- pgdbm:no-transaction
==== the directive with more behind it
-- pgdbm:no-transaction because of the index
VACUUM;
==== the directive indented is none
 -- pgdbm:no-transaction
VACUUM;
==== the directive with another ending is none
-- pgdbm:no-transactional
VACUUM;
==== the directive with Windows line ends
-- pgdbm:no-transaction
VACUUM;

