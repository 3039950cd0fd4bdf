-- Orders can be refunded. In a separate file, because a new enum value cannot be used before the commit.
ALTER TYPE {{tables.order_status}} ADD VALUE 'refunded' AFTER 'shipped';
