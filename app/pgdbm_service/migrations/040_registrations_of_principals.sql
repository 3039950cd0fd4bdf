-- To count what a principal has registered in the last hour.
CREATE INDEX registrations_by ON {{tables.registrations}} (registered_by, registered_at);
