-- begin: a transaction in which all queries see the same state
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY

-- begin_within: the same inside the caller's transaction, whose settings are restored at the end
SAVEPOINT pgdbm_catalog

-- end: restore the settings, the only thing that was changed
ROLLBACK

-- end_within: restore the settings; the transaction continues
ROLLBACK TO SAVEPOINT pgdbm_catalog; RELEASE SAVEPOINT pgdbm_catalog

-- settings: those that PostgreSQL's definitions of objects depend on. The search_path is the same for every schema:
-- with another one PostgreSQL plans a prepared statement again, which takes several times as long as "list" itself.
-- enable_seqscan is off because the statistics of the catalogs are outdated after migrations, and the planner would
-- scan pg_attrdef for every column with a default.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
       pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),
       pg_catalog.set_config('quote_all_identifiers', 'off', true),
       pg_catalog.set_config('TimeZone', 'UTC', true),
       pg_catalog.set_config('DateStyle', 'ISO, YMD', true),
       pg_catalog.set_config('IntervalStyle', 'postgres', true),
       pg_catalog.set_config('bytea_output', 'hex', true),
       pg_catalog.set_config('extra_float_digits', '1', true),
       pg_catalog.set_config('lc_monetary', 'C', true),
       pg_catalog.set_config('work_mem', '32MB', true),
       pg_catalog.set_config('jit', 'off', true),
       pg_catalog.set_config('enable_seqscan', 'off', true)

-- has_others: whether the schema $1 has objects that are not relations and do not belong to one
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::regclass::oid AND d.refobjid = n.oid
    WHERE n.nspname = $1::name AND d.classid <> 'pg_catalog.pg_class'::regclass::oid
)

-- space: part of a statement: the schema $1, with the search_path $3 set
space AS MATERIALIZED (
    SELECT pg_catalog.set_config('search_path', $3::text, true), oid, nspowner, nspacl,
           pg_catalog.quote_ident(nspname) AS bare,
           '"' || pg_catalog.replace(nspname::text, '"', '""') || '"' AS quoted
    FROM pg_catalog.pg_namespace WHERE nspname = $1::name
)

-- list: every object in the schema $1 except the tables in $2 and what belongs to them. Members are found by their
-- dependency on the schema, which has an index. Operators have equal types on both sides and functions are qualified,
-- so that no object of the schema is used instead. PostgreSQL writes hidden objects with their schema: pg_catalog has
-- an object of the same name, or the name is not unique. The search_path $3 contains the schema, so that its name is
-- omitted. It is set here, before any definition is formatted: all of them depend on "space".
WITH {{space}},
member AS MATERIALIZED (
    SELECT d.classid, d.objid
    FROM space
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_namespace'::regclass::oid AND d.refobjid = space.oid
    WHERE NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend e
        WHERE e.classid = d.classid AND e.objid = d.objid
          AND (e.deptype = 'e' OR e.deptype = 'i' AND e.classid = 'pg_catalog.pg_proc'::regclass::oid)
    )
),
{{rel}},
found (classid, oid, subid, kind, name, definition, owner, is_owned, acl_kind, acl, relation) AS MATERIALIZED (
    SELECT 'pg_catalog.pg_namespace'::regclass::oid, oid, 0, 'schema', {{marker}}, '',
           nspowner, true, 'n'::"char", nspacl, NULL::text
    FROM space

    UNION ALL
    {{of_tables}}

    UNION ALL
    {{of_other_relations}}
    {{others}}
)
{{rows}}
UNION ALL
SELECT 'hidden', n.name, '', NULL, NULL
FROM (SELECT r.relname::text FROM rel r WHERE r.relkind <> 'S'
      UNION ALL SELECT p.proname::text FROM member m JOIN pg_catalog.pg_proc p ON p.oid = m.objid
                WHERE m.classid = 'pg_catalog.pg_proc'::regclass::oid
      UNION ALL SELECT t.typname::text FROM member m JOIN pg_catalog.pg_type t ON t.oid = m.objid
                WHERE m.classid = 'pg_catalog.pg_type'::regclass::oid
      UNION ALL SELECT o.oprname::text FROM member m JOIN pg_catalog.pg_operator o ON o.oid = m.objid
                WHERE m.classid = 'pg_catalog.pg_operator'::regclass::oid) n (name)
{{is_hidden}}
UNION ALL
SELECT 'hidden', p.proname::text, '', NULL, NULL
FROM member m JOIN pg_catalog.pg_proc p ON p.oid = m.objid
WHERE m.classid = 'pg_catalog.pg_proc'::regclass::oid
GROUP BY p.proname HAVING pg_catalog.count(*) > 1

-- list_tables: the same objects as in "list", of the plain tables $4 only, and of the sequences of their columns; and a
-- row of the kind "not alone" unless they are alone
WITH {{space}},
member AS MATERIALIZED (
    SELECT 'pg_catalog.pg_class'::regclass::oid AS classid, c.oid AS objid
    FROM space
    JOIN pg_catalog.pg_class c ON c.relnamespace = space.oid AND c.relname = ANY ($4::text[]::name[])
    UNION ALL
    SELECT d.classid, s.oid
    FROM space
    JOIN pg_catalog.pg_class c ON c.relnamespace = space.oid AND c.relname = ANY ($4::text[]::name[])
    JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = c.oid
    JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S' AND s.relnamespace = space.oid
    WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
),
{{rel}},
found (classid, oid, subid, kind, name, definition, owner, is_owned, acl_kind, acl, relation) AS MATERIALIZED (
    {{of_tables}}
)
{{rows}}
UNION ALL
SELECT 'hidden', n.name, '', NULL, NULL
FROM (SELECT r.relname::text FROM rel r WHERE r.relkind <> 'S') n (name)
{{is_hidden}}
UNION ALL
SELECT 'not alone', '', '', NULL, NULL
WHERE NOT ({{are_alone}})

-- are_alone: part of "list_tables": whether the tables $4 of the schema $1 are all there, and can be listed without the
-- rest of the schema: they are plain tables without triggers, rules, policies, partitions or children; nothing else is
-- written in terms of their columns; and none of their defaults, constraints, indexes or types runs a user-defined
-- function, which could do anything. $5 are the tables of $4 that are named without a schema: no other schema may have a
-- relation with such a name. Built-in functions are not in pg_depend.
WITH touched AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relpersistence, c.relispartition, c.reloftype, c.relhasrules, c.relnamespace
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid
    WHERE n.nspname = $1::name AND c.relname = ANY ($4::text[]::name[])
),
part (classid, oid) AS MATERIALIZED (
    SELECT 'pg_catalog.pg_class'::regclass::oid, t.oid FROM touched t
    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass::oid, i.indexrelid
    FROM touched t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
    UNION ALL
    SELECT 'pg_catalog.pg_attrdef'::regclass::oid, d.oid
    FROM touched t JOIN pg_catalog.pg_attrdef d ON d.adrelid = t.oid
    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass::oid, c.oid
    FROM touched t JOIN pg_catalog.pg_constraint c ON c.conrelid = t.oid
)
SELECT (SELECT pg_catalog.count(*) FROM touched t
        WHERE t.relkind = 'r' AND t.relpersistence <> 't' AND NOT t.relispartition AND t.reloftype = 0::oid
          AND NOT t.relhasrules) = pg_catalog.cardinality($4::text[])
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c CROSS JOIN (SELECT t.relnamespace FROM touched t LIMIT 1) own
                   WHERE c.relname = ANY ($5::text[]::name[]) AND c.relnamespace <> own.relnamespace)
   AND NOT EXISTS (SELECT FROM touched t JOIN pg_catalog.pg_inherits i ON i.inhrelid = t.oid)
   AND NOT EXISTS (SELECT FROM touched t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid)
   AND NOT EXISTS (SELECT FROM touched t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid WHERE NOT g.tgisinternal)
   AND NOT EXISTS (SELECT FROM touched t JOIN pg_catalog.pg_policy p ON p.polrelid = t.oid)
   AND NOT EXISTS (
       SELECT FROM touched t
       JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjid = t.oid
       WHERE d.classid IN ('pg_catalog.pg_rewrite'::regclass::oid, 'pg_catalog.pg_proc'::regclass::oid,
                           'pg_catalog.pg_policy'::regclass::oid, 'pg_catalog.pg_trigger'::regclass::oid,
                           'pg_catalog.pg_statistic_ext'::regclass::oid)
         AND NOT (d.classid = 'pg_catalog.pg_trigger'::regclass::oid AND EXISTS (
             SELECT FROM pg_catalog.pg_trigger g WHERE g.oid = d.objid AND g.tgisinternal)))
   AND NOT EXISTS (
       SELECT FROM part p
       JOIN pg_catalog.pg_depend d ON d.classid = p.classid AND d.objid = p.oid
       LEFT JOIN pg_catalog.pg_type y ON d.refclassid = 'pg_catalog.pg_type'::regclass::oid AND y.oid = d.refobjid
       WHERE d.refclassid IN ('pg_catalog.pg_proc'::regclass::oid, 'pg_catalog.pg_operator'::regclass::oid)
          OR y.typtype = 'd')

-- rel: part of both lists: the relations among "member", without the tables in $2 and their sequences
rel AS MATERIALIZED (
    SELECT c.oid, c.relkind, c.relowner, c.relacl, c.relpersistence, c.relispartition, c.relpartbound, c.reloftype,
           c.relreplident, c.relrowsecurity, c.relforcerowsecurity, c.relhasrules, c.relhastriggers, c.relhasindex,
           c.reltoastrelid, pg_catalog.quote_ident(c.relname) AS label, c.relname,
           -- A sequence belongs to the table of its column.
           COALESCE(CASE c.relkind WHEN 'S' THEN (
               SELECT pg_catalog.quote_ident(t.relname)
               FROM pg_catalog.pg_depend d
               JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relnamespace = c.relnamespace
               WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = c.oid
                 AND d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjsubid > 0
                 AND d.deptype IN ('a', 'i')) END, pg_catalog.quote_ident(c.relname)) AS relation,
           CASE WHEN c.relam <> 0::oid AND c.relam <> (SELECT m.oid FROM pg_catalog.pg_am m WHERE m.amname = 'heap')
                THEN (SELECT ' USING ' || pg_catalog.quote_ident(m.amname) FROM pg_catalog.pg_am m
                      WHERE m.oid = c.relam)
                ELSE '' END
           || CASE WHEN c.reloptions IS NULL THEN ''
                   ELSE (SELECT ' WITH (' || pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C") || ')'
                         FROM pg_catalog.unnest(c.reloptions) o) END
           || CASE c.reltablespace WHEN 0::oid THEN ''
                   ELSE (SELECT ' TABLESPACE ' || pg_catalog.quote_ident(t.spcname) FROM pg_catalog.pg_tablespace t
                         WHERE t.oid = c.reltablespace) END AS storage
    FROM member m
    JOIN pg_catalog.pg_class c ON c.oid = m.objid
    WHERE m.classid = 'pg_catalog.pg_class'::regclass::oid
      AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
      AND NOT c.relname = ANY ($2::text[]::name[])
      AND NOT (c.relkind = 'S' AND EXISTS (
          SELECT FROM pg_catalog.pg_depend d
          JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
          WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = c.oid
            AND d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.deptype IN ('a', 'i')
            AND t.relname = ANY ($2::text[]::name[]) AND t.relnamespace = c.relnamespace))
)

-- of_tables: part of both lists: tables, columns, constraints, indexes and sequences
    SELECT 'pg_catalog.pg_class'::regclass::oid, r.oid, 0, 'table', r.label,
           CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END
           || CASE r.relkind WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
           || COALESCE(' OF ' || CASE WHEN r.reloftype <> 0::oid THEN pg_catalog.format_type(r.reloftype, NULL) END, '')
           || COALESCE((SELECT CASE WHEN r.relispartition THEN ' PARTITION OF ' ELSE ' INHERITS ' END
                               || pg_catalog.string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
                               || CASE WHEN pg_catalog.bool_or(i.inhdetachpending) THEN ' DETACH PENDING' ELSE '' END
                        FROM pg_catalog.pg_inherits i WHERE i.inhrelid = r.oid HAVING pg_catalog.count(*) > 0), '')
           || CASE WHEN r.relispartition THEN ' ' || pg_catalog.pg_get_expr(r.relpartbound, r.oid) ELSE '' END
           || CASE r.relkind WHEN 'p' THEN ' PARTITION BY ' || pg_catalog.pg_get_partkeydef(r.oid) ELSE '' END
           || r.storage
           || COALESCE(' TOAST (' || (SELECT pg_catalog.string_agg(o, ', ' ORDER BY o COLLATE "C")
                                      FROM pg_catalog.pg_class t, pg_catalog.unnest(t.reloptions) o
                                      WHERE t.oid = r.reltoastrelid AND t.reloptions IS NOT NULL) || ')', '')
           || COALESCE((SELECT ' SERVER ' || pg_catalog.quote_ident(s.srvname)
                               || COALESCE(' OPTIONS (' || pg_catalog.array_to_string(f.ftoptions, ', ') || ')', '')
                        FROM pg_catalog.pg_foreign_table f JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver
                        WHERE f.ftrelid = r.oid AND r.relkind = 'f'), '')
           || CASE r.relreplident WHEN 'f' THEN ' REPLICA IDENTITY FULL' WHEN 'i' THEN ' REPLICA IDENTITY USING INDEX'
                                  WHEN 'n' THEN CASE r.relkind WHEN 'f' THEN '' ELSE ' REPLICA IDENTITY NOTHING' END
                                  ELSE '' END
           || CASE WHEN r.relrowsecurity THEN ' ROW LEVEL SECURITY' ELSE '' END
           || CASE WHEN r.relforcerowsecurity THEN ' FORCE ROW LEVEL SECURITY' ELSE '' END,
           r.relowner, true, 'r'::"char", r.relacl, r.relation
    FROM rel r WHERE r.relkind IN ('r', 'p', 'f')

    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass::oid, r.oid, a.attnum::integer,
           CASE WHEN r.relkind IN ('v', 'm') THEN 'view column' ELSE 'column' END,
           r.label || '.' || pg_catalog.quote_ident(a.attname),
           CASE WHEN r.relkind IN ('v', 'm') THEN 'DEFAULT ' || a.expression
           ELSE
               pg_catalog.format_type(a.atttypid, a.atttypmod)
               -- Most columns have a type whose collation and storage are known.
               || CASE WHEN a.attlen > 0 AND a.attcollation = 0::oid
                         OR a.attstorage = 'x' AND a.attcollation IN (0::oid, 100::oid)
                            AND a.atttypid IN ('text'::regtype::oid, 'varchar'::regtype::oid, 'jsonb'::regtype::oid)
                       THEN ''
                       ELSE (SELECT CASE a.attcollation WHEN t.typcollation THEN '' WHEN 0::oid THEN ''
                                                        ELSE ' COLLATE ' || a.attcollation::regcollation::text END
                                    || CASE a.attstorage WHEN t.typstorage THEN ''
                                                         ELSE ' STORAGE ' || a.attstorage::text END
                             FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid) END
               || CASE a.attcompression WHEN '' THEN '' ELSE ' COMPRESSION ' || a.attcompression::text END
               || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
               || CASE a.attidentity WHEN '' THEN '' WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY'
                                     ELSE ' GENERATED BY DEFAULT AS IDENTITY' END
               || CASE WHEN a.expression IS NULL THEN ''
                       WHEN a.attgenerated = '' THEN ' DEFAULT ' || a.expression
                       ELSE ' GENERATED ALWAYS AS (' || a.expression || ')'
                            || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE ' VIRTUAL' END END
               || COALESCE(' STATISTICS ' || NULLIF(a.attstattarget::integer, -1)::text, '')
               || COALESCE(' WITH (' || pg_catalog.array_to_string(a.attoptions, ', ') || ')', '')
               || COALESCE(' OPTIONS (' || pg_catalog.array_to_string(a.attfdwoptions, ', ') || ')', '')
               || CASE WHEN a.attinhcount > 0 THEN CASE WHEN a.attislocal THEN ' INHERITED, LOCAL' ELSE ' INHERITED' END
                       ELSE '' END
           END,
           r.relowner, false, 'c', a.attacl, r.relation
    FROM rel r
    JOIN LATERAL (
        SELECT l.*, CASE WHEN l.atthasdef THEN
                   (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
                    WHERE d.adrelid = l.attrelid AND d.adnum = l.attnum) END AS expression
        FROM pg_catalog.pg_attribute l
        WHERE l.attrelid = r.oid AND l.attnum > 0 AND NOT l.attisdropped
        OFFSET 0
    ) a ON true
    WHERE r.relkind IN ('r', 'p', 'f', 'v', 'm')

    UNION ALL
    SELECT 'pg_catalog.pg_constraint'::regclass::oid, c.oid, 0, 'constraint',
           r.label || '.' || pg_catalog.quote_ident(c.conname),
           pg_catalog.pg_get_constraintdef(c.oid)
           || CASE WHEN c.coninhcount > 0 THEN CASE WHEN c.conislocal THEN ' INHERITED, LOCAL' ELSE ' INHERITED' END
                   ELSE '' END
           || CASE WHEN c.contype = 'f' AND EXISTS (
                       SELECT FROM pg_catalog.pg_trigger g
                       WHERE g.tgconstraint = c.oid AND g.tgisinternal AND g.tgenabled <> 'O')
                   THEN ' TRIGGERS NOT ENABLED AS USUAL' ELSE '' END
           || CASE WHEN c.contype IN ('p', 'u', 'x') THEN (
                  SELECT CASE WHEN i.reloptions IS NULL THEN ''
                              ELSE ' WITH (' || pg_catalog.array_to_string(i.reloptions, ', ') || ')' END
                         || CASE i.reltablespace WHEN 0::oid THEN '' ELSE (
                                SELECT ' TABLESPACE ' || pg_catalog.quote_ident(t.spcname)
                                FROM pg_catalog.pg_tablespace t WHERE t.oid = i.reltablespace) END
                         || CASE WHEN x.indisreplident THEN ' REPLICA IDENTITY' ELSE '' END
                         || CASE WHEN x.indisvalid AND x.indisready THEN '' ELSE ' INVALID' END
                  FROM pg_catalog.pg_class i JOIN pg_catalog.pg_index x ON x.indexrelid = i.oid
                  WHERE i.oid = c.conindid) ELSE '' END,
           NULL, false, NULL, NULL, r.relation
    FROM rel r
    JOIN pg_catalog.pg_constraint c ON c.conrelid = r.oid
    WHERE r.relkind IN ('r', 'p', 'f')
      AND CASE c.contype
          WHEN 't' THEN false
          WHEN 'f' THEN c.conparentid = 0::oid
          -- Since PostgreSQL 18; a constraint with the default name is covered by the column's NOT NULL.
          WHEN 'n' THEN NOT (c.convalidated AND NOT c.connoinherit AND (
              c.coninhcount > 0 AND NOT c.conislocal
              OR pg_catalog.right(c.conname::text, 9) = '_not_null'))
          ELSE true END

    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass::oid, c.oid, 0, 'index', pg_catalog.quote_ident(c.relname),
           pg_catalog.pg_get_indexdef(c.oid, 0, true)
           || CASE c.reltablespace WHEN 0::oid THEN '' ELSE (
                  SELECT ' TABLESPACE ' || pg_catalog.quote_ident(t.spcname) FROM pg_catalog.pg_tablespace t
                  WHERE t.oid = c.reltablespace) END
           || CASE WHEN c.relispartition THEN
                  (SELECT ' PARTITION OF ' || h.inhparent::regclass::text FROM pg_catalog.pg_inherits h
                   WHERE h.inhrelid = c.oid) ELSE '' END
           || CASE WHEN i.indisreplident THEN ' REPLICA IDENTITY' ELSE '' END
           || CASE WHEN i.indisvalid AND i.indisready THEN '' ELSE ' INVALID' END,
           NULL, false, NULL, NULL, r.relation
    FROM rel r
    JOIN pg_catalog.pg_index i ON i.indrelid = r.oid
    JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    -- Constraint triggers are covered by their constraint.
    WHERE r.relkind IN ('r', 'p', 'm') AND NOT i.indisprimary AND NOT i.indisexclusion
      AND NOT (i.indisunique AND EXISTS (
          SELECT FROM pg_catalog.pg_constraint o
          WHERE o.conrelid = i.indrelid AND o.conindid = i.indexrelid AND o.contype = 'u'))

    UNION ALL
    SELECT 'pg_catalog.pg_class'::regclass::oid, r.oid, 0, 'sequence', r.label,
           CASE r.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END
           || 'AS ' || pg_catalog.format_type(s.seqtypid, NULL) || ' START ' || s.seqstart::text
           || ' INCREMENT ' || s.seqincrement::text || ' MINVALUE ' || s.seqmin::text || ' MAXVALUE ' || s.seqmax::text
           || ' CACHE ' || s.seqcache::text || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END || COALESCE(o.by, ''),
           r.relowner, o.by IS NULL, 's', r.relacl, r.relation
    FROM rel r
    JOIN pg_catalog.pg_sequence s ON s.seqrelid = r.oid
    LEFT JOIN LATERAL (
        SELECT CASE d.deptype WHEN 'i' THEN ' IDENTITY OF ' ELSE ' OWNED BY ' END
               || a.attrelid::regclass::text || '.' || pg_catalog.quote_ident(a.attname) AS by
        FROM pg_catalog.pg_depend d
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid::smallint
        WHERE d.classid = 'pg_catalog.pg_class'::regclass::oid AND d.objid = r.oid
          AND d.refclassid = 'pg_catalog.pg_class'::regclass::oid AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
    ) o ON true
    WHERE r.relkind = 'S'

-- of_other_relations: part of "list": views, triggers, rules and policies
    SELECT 'pg_catalog.pg_class'::regclass::oid, r.oid, 0,
           CASE r.relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, r.label,
           r.storage || ' AS' || pg_catalog.pg_get_viewdef(r.oid),
           r.relowner, true, 'r', r.relacl, r.relation
    FROM rel r WHERE r.relkind IN ('v', 'm')

    UNION ALL
    SELECT 'pg_catalog.pg_trigger'::regclass::oid, g.oid, 0, 'trigger',
           r.label || '.' || pg_catalog.quote_ident(g.tgname),
           pg_catalog.pg_get_triggerdef(g.oid, true)
           || CASE g.tgenabled WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' ENABLED REPLICA'
                          WHEN 'A' THEN ' ENABLED ALWAYS' ELSE '' END,
           NULL, false, NULL, NULL, r.relation
    FROM rel r
    JOIN pg_catalog.pg_trigger g ON g.tgrelid = r.oid
    LEFT JOIN pg_catalog.pg_trigger p ON p.oid = g.tgparentid
    WHERE r.relhastriggers AND NOT (g.tgisinternal AND g.tgparentid = 0::oid)
      AND CASE WHEN p.oid IS NULL THEN NOT g.tgisinternal
                                    ELSE NOT p.tgisinternal AND p.tgenabled <> g.tgenabled END

    UNION ALL
    SELECT 'pg_catalog.pg_rewrite'::regclass::oid, w.oid, 0, 'rule',
           r.label || '.' || pg_catalog.quote_ident(w.rulename),
           pg_catalog.pg_get_ruledef(w.oid, true)
           || CASE w.ev_enabled WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' ENABLED REPLICA'
                          WHEN 'A' THEN ' ENABLED ALWAYS' ELSE '' END,
           NULL, false, NULL, NULL, r.relation
    FROM rel r
    JOIN pg_catalog.pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
    WHERE r.relhasrules

    UNION ALL
    SELECT 'pg_catalog.pg_policy'::regclass::oid, p.oid, 0, 'policy',
           r.label || '.' || pg_catalog.quote_ident(p.polname),
           CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END
           || ' FOR ' || CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                       WHEN 'd' THEN 'DELETE' ELSE 'ALL' END
           || ' TO ' || (SELECT pg_catalog.string_agg(n.name, ', ' ORDER BY n.name COLLATE "C")
                         FROM pg_catalog.unnest(p.polroles) o,
                         LATERAL (SELECT CASE o WHEN 0::oid THEN 'PUBLIC' ELSE o::regrole::text END AS name) n)
           || COALESCE(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '')
           || COALESCE(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''),
           NULL, false, NULL, NULL, r.relation
    FROM rel r
    JOIN pg_catalog.pg_policy p ON p.polrelid = r.oid
    WHERE r.relkind IN ('r', 'p')

-- rows: part of both lists: what was found, with owners, comments and privileges
SELECT kind, name, definition, CASE kind WHEN 'column' THEN subid END AS position, relation
FROM found WHERE definition IS NOT NULL
UNION ALL
SELECT 'owner', f.kind || ' ' || f.name, pg_catalog.pg_get_userbyid(f.owner)::text, NULL, f.relation
FROM found f CROSS JOIN space
WHERE f.is_owned AND (f.owner <> space.nspowner OR f.kind = 'schema')
UNION ALL
SELECT 'comment', f.kind || ' ' || f.name, pg_catalog.replace(d.description, space.quoted, {{marker}}), NULL, f.relation
FROM found f
CROSS JOIN space
JOIN pg_catalog.pg_description d ON d.objoid = f.oid AND d.classoid = f.classid AND d.objsubid = f.subid
UNION ALL
SELECT 'privileges', f.kind || ' ' || f.name, granted.text, NULL, f.relation
FROM found f
CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.string_agg(a::text, ', ' ORDER BY a::text COLLATE "C"), '') AS text
                    FROM pg_catalog.unnest(f.acl) a) granted
CROSS JOIN LATERAL (SELECT COALESCE(pg_catalog.string_agg(a::text, ', ' ORDER BY a::text COLLATE "C"), '') AS text
                    FROM pg_catalog.unnest(pg_catalog.acldefault(f.acl_kind, f.owner)) a) usual
WHERE f.acl IS NOT NULL AND granted.text <> usual.text

-- is_hidden: part of both lists: the names n that pg_catalog has, too
WHERE EXISTS (SELECT FROM pg_catalog.pg_proc p
              WHERE p.proname = n.name::name AND p.pronamespace = 'pg_catalog'::regnamespace::oid)
   OR EXISTS (SELECT FROM pg_catalog.pg_type t
              WHERE t.typname = n.name::name AND t.typnamespace = 'pg_catalog'::regnamespace::oid)
   OR EXISTS (SELECT FROM pg_catalog.pg_operator o
              WHERE o.oprname = n.name::name AND o.oprnamespace = 'pg_catalog'::regnamespace::oid)
