-- others: the part of the list in catalog.sql for objects that are not relations and do not belong to one; `member` and
-- `space` are defined there. Most schemas have no such object, and planning it takes longer than listing many tables.
UNION ALL
SELECT 'pg_catalog.pg_proc'::regclass::oid, p.oid, 0,
       CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
       pg_catalog.quote_ident(p.proname) || '('
       || COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format_type(t, NULL), ', ' ORDER BY n)
                    FROM pg_catalog.unnest(p.proargtypes::oid[]) WITH ORDINALITY x (t, n)), '') || ')',
       '(' || pg_catalog.pg_get_function_arguments(p.oid) || ')'
       || COALESCE(' RETURNS ' || pg_catalog.pg_get_function_result(p.oid), '')
       || ' LANGUAGE ' || pg_catalog.quote_ident(l.lanname)
       || CASE p.prokind WHEN 'w' THEN ' WINDOW' ELSE '' END
       || CASE p.provolatile WHEN 'i' THEN ' IMMUTABLE' WHEN 's' THEN ' STABLE' ELSE '' END
       || CASE p.proparallel WHEN 's' THEN ' PARALLEL SAFE' WHEN 'r' THEN ' PARALLEL RESTRICTED' ELSE '' END
       || CASE WHEN p.proisstrict THEN ' STRICT' ELSE '' END
       || CASE WHEN p.prosecdef THEN ' SECURITY DEFINER' ELSE '' END
       || CASE WHEN p.proleakproof THEN ' LEAKPROOF' ELSE '' END
       || ' COST ' || p.procost::text || ' ROWS ' || p.prorows::text
       || CASE WHEN p.prosupport::oid <> 0::oid THEN ' SUPPORT ' || p.prosupport::text ELSE '' END
       || COALESCE(' TRANSFORM ' || (SELECT pg_catalog.string_agg(pg_catalog.format_type(t, NULL), ', ' ORDER BY n)
            FROM pg_catalog.unnest(p.protrftypes) WITH ORDINALITY x (t, n)), '')
       || COALESCE((SELECT pg_catalog.string_agg(
            CASE WHEN c !~ '^search_path=' THEN ' SET ' || c
                 ELSE ' SET search_path=' || (
                     SELECT pg_catalog.string_agg(CASE WHEN s = space.bare OR s = space.quoted THEN {{marker}}
                                                       ELSE s END, ', ' ORDER BY n)
                     FROM pg_catalog.regexp_split_to_table(pg_catalog.substr(c, 13), ', *')
                          WITH ORDINALITY x (s, n))
                 END, '' ORDER BY c COLLATE "C")
            FROM pg_catalog.unnest(p.proconfig) c), '')
       || CASE p.prokind
          WHEN 'a' THEN (
              SELECT ' ' || (SELECT pg_catalog.string_agg(k || ' ' || v, ' ' ORDER BY k COLLATE "C")
                             FROM pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(g) - ARRAY[
                                 'aggfnoid', 'aggtranstype', 'aggmtranstype', 'aggsortop']) x (k, v))
                     || ' STYPE ' || pg_catalog.format_type(g.aggtranstype, NULL)
                     || COALESCE(' MSTYPE ' || pg_catalog.format_type(NULLIF(g.aggmtranstype, 0::oid), NULL), '')
                     || COALESCE(' SORTOP ' || NULLIF(g.aggsortop, 0::oid)::regoperator::text, '')
              FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid::oid = p.oid)
          ELSE COALESCE(' AS ' || p.probin || ',', '')
               || COALESCE(pg_catalog.chr(10) || pg_catalog.pg_get_function_sqlbody(p.oid),
                           ' AS ' || pg_catalog.replace(p.prosrc, space.quoted, {{marker}})) END,
       p.proowner, true, 'f', p.proacl, NULL
FROM member m
CROSS JOIN space
JOIN pg_catalog.pg_proc p ON p.oid = m.objid
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE m.classid = 'pg_catalog.pg_proc'::regclass::oid

UNION ALL
SELECT 'pg_catalog.pg_type'::regclass::oid, t.oid, 0, 'type', pg_catalog.quote_ident(t.typname),
       CASE t.typtype
       WHEN 'e' THEN 'ENUM (' || COALESCE((
           SELECT pg_catalog.string_agg(pg_catalog.quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
           FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid), '') || ')'
       WHEN 'd' THEN 'DOMAIN ' || pg_catalog.format_type(t.typbasetype, t.typtypmod)
           || CASE WHEN t.typcollation <> b.typcollation THEN ' COLLATE ' || t.typcollation::regcollation::text
                   ELSE '' END
           || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
           || COALESCE(' DEFAULT ' || pg_catalog.pg_get_expr(t.typdefaultbin, 0::oid), '')
           || COALESCE((SELECT pg_catalog.string_agg(' CONSTRAINT ' || pg_catalog.quote_ident(c.conname) || ' '
                                                     || pg_catalog.pg_get_constraintdef(c.oid), ''
                                                     ORDER BY c.conname COLLATE "C")
                        FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid), '')
       WHEN 'c' THEN 'COMPOSITE (' || COALESCE((
           SELECT pg_catalog.string_agg(
               pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation::text
                       ELSE '' END, ', ' ORDER BY a.attnum)
           FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
           WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') || ')'
       WHEN 'r' THEN (
           SELECT 'RANGE OF ' || pg_catalog.format_type(g.rngsubtype, NULL)
                  || ' MULTIRANGE ' || pg_catalog.format_type(g.rngmultitypid, NULL)
                  || ' OPCLASS ' || pg_catalog.quote_ident(o.opcname)
                  || COALESCE(' COLLATE ' || NULLIF(g.rngcollation, 0::oid)::regcollation::text, '')
                  || ' CANONICAL ' || g.rngcanonical::text || ' DIFF ' || g.rngsubdiff::text
           FROM pg_catalog.pg_range g JOIN pg_catalog.pg_opclass o ON o.oid = g.rngsubopc
           WHERE g.rngtypid = t.oid)
       ELSE (SELECT pg_catalog.string_agg(k || ' ' || v, ' ' ORDER BY k COLLATE "C")
             FROM pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t) - ARRAY[
                 'oid', 'typname', 'typnamespace', 'typowner', 'typacl', 'typarray', 'typrelid', 'typelem',
                 'typbasetype', 'typcollation']) x (k, v)) END,
       t.typowner, true, 'T', t.typacl, NULL
FROM member m
JOIN pg_catalog.pg_type t ON t.oid = m.objid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE m.classid = 'pg_catalog.pg_type'::regclass::oid AND t.typtype <> 'm'

UNION ALL
SELECT 'pg_catalog.pg_statistic_ext'::regclass::oid, s.oid, 0, 'statistics', pg_catalog.quote_ident(s.stxname),
       pg_catalog.array_to_string(s.stxkind, '') || ' ON ' || pg_catalog.pg_get_statisticsobjdef_columns(s.oid)
       || ' FROM ' || s.stxrelid::regclass::text
       || COALESCE(' STATISTICS ' || NULLIF(s.stxstattarget::integer, -1)::text, ''),
       s.stxowner, true, NULL, NULL, NULL
FROM member m
JOIN pg_catalog.pg_statistic_ext s ON s.oid = m.objid
WHERE m.classid = 'pg_catalog.pg_statistic_ext'::regclass::oid

UNION ALL
SELECT 'pg_catalog.pg_operator'::regclass::oid, o.oid, 0, 'operator', o.oid::regoperator::text,
       'PROCEDURE ' || o.oprcode::text || ' RESTRICT ' || o.oprrest::text || ' JOIN ' || o.oprjoin::text
       || COALESCE(' COMMUTATOR ' || NULLIF(o.oprcom, 0::oid)::regoperator::text, '')
       || COALESCE(' NEGATOR ' || NULLIF(o.oprnegate, 0::oid)::regoperator::text, '')
       || CASE WHEN o.oprcanhash THEN ' HASHES' ELSE '' END || CASE WHEN o.oprcanmerge THEN ' MERGES' ELSE '' END,
       o.oprowner, true, NULL, NULL, NULL
FROM member m
JOIN pg_catalog.pg_operator o ON o.oid = m.objid
WHERE m.classid = 'pg_catalog.pg_operator'::regclass::oid

UNION ALL
SELECT 'pg_catalog.pg_collation'::regclass::oid, c.oid, 0, 'collation', pg_catalog.quote_ident(c.collname),
       pg_catalog.jsonb_strip_nulls(pg_catalog.to_jsonb(c) - ARRAY['oid', 'collname', 'collnamespace', 'collowner',
                                                                   'collversion'])::text,
       c.collowner, true, NULL, NULL, NULL
FROM member m
JOIN pg_catalog.pg_collation c ON c.oid = m.objid
WHERE m.classid = 'pg_catalog.pg_collation'::regclass::oid

UNION ALL
SELECT 'pg_catalog.pg_ts_dict'::regclass::oid, d.oid, 0, 'text search dictionary',
       pg_catalog.quote_ident(d.dictname),
       'TEMPLATE ' || pg_catalog.quote_ident(t.tmplname) || ' ' || COALESCE(d.dictinitoption, ''),
       d.dictowner, true, NULL, NULL, NULL
FROM member m
JOIN pg_catalog.pg_ts_dict d ON d.oid = m.objid
JOIN pg_catalog.pg_ts_template t ON t.oid = d.dicttemplate
WHERE m.classid = 'pg_catalog.pg_ts_dict'::regclass::oid

UNION ALL
SELECT 'pg_catalog.pg_ts_config'::regclass::oid, c.oid, 0, 'text search configuration',
       pg_catalog.quote_ident(c.cfgname),
       'PARSER ' || pg_catalog.quote_ident(p.prsname) || COALESCE((
           SELECT pg_catalog.string_agg(' ' || x.maptokentype::text || '=' || x.mapdict::regdictionary::text, ''
                                        ORDER BY x.maptokentype, x.mapseqno)
           FROM pg_catalog.pg_ts_config_map x WHERE x.mapcfg = c.oid), ''),
       c.cfgowner, true, NULL, NULL, NULL
FROM member m
JOIN pg_catalog.pg_ts_config c ON c.oid = m.objid
JOIN pg_catalog.pg_ts_parser p ON p.oid = c.cfgparser
WHERE m.classid = 'pg_catalog.pg_ts_config'::regclass::oid

UNION ALL
SELECT 0::oid, 0::oid, 0, 'extension', pg_catalog.quote_ident(e.extname), 'VERSION ' || e.extversion,
       NULL, false, NULL, NULL, NULL
FROM space JOIN pg_catalog.pg_extension e ON e.extnamespace = space.oid

UNION ALL
SELECT 0::oid, 0::oid, 0, 'default privileges',
       pg_catalog.pg_get_userbyid(d.defaclrole)::text || ' ' || d.defaclobjtype::text,
       COALESCE((SELECT pg_catalog.string_agg(a::text, ', ' ORDER BY a::text COLLATE "C")
                 FROM pg_catalog.unnest(d.defaclacl) a), ''),
       NULL, false, NULL, NULL, NULL
FROM space JOIN pg_catalog.pg_default_acl d ON d.defaclnamespace = space.oid
