-- Checking these took most of the time in which a bundle of many files is stored. One statement inserts a bundle, its
-- files and their contents, and nothing deletes or changes them.
ALTER TABLE {{tables.bundle_files}} DROP CONSTRAINT bundle_files_digest_fkey;
ALTER TABLE {{tables.bundle_files}} DROP CONSTRAINT bundle_files_hash_fkey;
