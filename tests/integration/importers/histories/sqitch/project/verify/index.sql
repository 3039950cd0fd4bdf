-- Verify shop:index on pg

BEGIN;

-- XXX Add verifications here.

ROLLBACK;
