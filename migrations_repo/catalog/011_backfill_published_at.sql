-- Products that were on sale before the column existed were published when they were created.
DO $$
DECLARE
    batch_size CONSTANT integer := 1000;
    last_id uuid := '00000000-0000-0000-0000-000000000000';
    batch uuid[];
BEGIN
    LOOP
        -- By key, so that each batch continues after the previous one and no row is read twice.
        batch := ARRAY(
            SELECT p.id
            FROM {{tables.products}} AS p
            WHERE p.id > last_id AND p.status <> 'draft' AND p.published_at IS NULL
            ORDER BY p.id
            LIMIT batch_size
        );
        EXIT WHEN cardinality(batch) = 0;

        UPDATE {{tables.products}} AS p
        SET published_at = p.created_at
        WHERE p.id = ANY (batch) AND p.published_at IS NULL;

        last_id := batch[cardinality(batch)];
    END LOOP;
END;
$$;
