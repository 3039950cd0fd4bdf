-- Money goes back; alone in its file, for a new enum value cannot be used before it is committed.
ALTER TYPE {{tables.order_status}} ADD VALUE 'refunded' AFTER 'shipped';
