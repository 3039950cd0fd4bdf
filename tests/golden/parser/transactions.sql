==== BEGIN
BEGIN;
SELECT 1;
COMMIT;
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

