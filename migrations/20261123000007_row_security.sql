-- Nobody but the shop reads the shop's tables, wherever the database lives.
--
-- Some hosts put an HTTP interface in front of every table of the schema public, and let strangers
-- use it as the role anon and their users as the role authenticated (Supabase, PostgREST). There the
-- default privileges have given those roles everything on each table that the migrations before this
-- one have made. It is taken back here, twice: without a privilege they may not name a table, and
-- with row-level security and no policy there is no row for them if somebody grants one again.
--
-- The owner of a table is not subject to its row-level security, so nothing changes for a shop that
-- serves as the role that migrates. Another role would find every table empty; the programs notice
-- and refuse to serve as one.

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE products ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_history ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE inventory_logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_families ENABLE ROW LEVEL SECURITY;
ALTER TABLE refresh_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE mail_deliveries ENABLE ROW LEVEL SECURITY;
ALTER TABLE sandbox_gateway.charges ENABLE ROW LEVEL SECURITY;
ALTER TABLE sandbox_gateway.requests ENABLE ROW LEVEL SECURITY;
-- The migrator's own table is not there when these files are run by hand.
ALTER TABLE IF EXISTS _sqlx_migrations ENABLE ROW LEVEL SECURITY;

-- Triggers run without it: the privilege is asked for when a trigger is made.
REVOKE ALL ON FUNCTION set_updated_at() FROM PUBLIC;

DO $$
DECLARE
    strangers text;
    relation regclass;
BEGIN
    SELECT string_agg(quote_ident(rolname), ', ') INTO strangers
    FROM pg_roles
    WHERE rolname IN ('anon', 'authenticated');

    -- Only what belongs to the shop: others may have tables of their own beside ours.
    FOR relation IN
        SELECT pg_class.oid::regclass
        FROM pg_class
        WHERE oid IN (
            SELECT to_regclass(name)
            FROM unnest(ARRAY[
                'users', 'products', 'orders', 'order_items', 'order_history', 'payments',
                'inventory_logs', 'refresh_families', 'refresh_tokens', 'outbox', 'mail_deliveries',
                'sandbox_gateway.charges', 'sandbox_gateway.requests', '_sqlx_migrations'
            ]) AS name
        )
        UNION ALL
        -- The sequences of their identity columns.
        SELECT sequence.oid::regclass
        FROM pg_class AS sequence
        JOIN pg_depend ON pg_depend.classid = 'pg_class'::regclass
            AND pg_depend.objid = sequence.oid
            AND pg_depend.refclassid = 'pg_class'::regclass
            AND pg_depend.deptype = 'i'
        WHERE sequence.relkind = 'S'
            AND pg_depend.refobjid IN (
                to_regclass('order_history'), to_regclass('outbox'),
                to_regclass('sandbox_gateway.requests')
            )
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM PUBLIC', relation);
        IF strangers IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %s FROM %s', relation, strangers);
        END IF;
    END LOOP;

    IF strangers IS NOT NULL THEN
        EXECUTE format('REVOKE ALL ON FUNCTION set_updated_at() FROM %s', strangers);
        EXECUTE format('REVOKE ALL ON SCHEMA sandbox_gateway FROM %s', strangers);
        -- What later migrations make, as this role, is not given away in the first place.
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON TABLES FROM %s',
            current_schema(), strangers
        );
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON SEQUENCES FROM %s',
            current_schema(), strangers
        );
        EXECUTE format(
            'ALTER DEFAULT PRIVILEGES IN SCHEMA %I REVOKE ALL ON FUNCTIONS FROM %s',
            current_schema(), strangers
        );
    END IF;
END
$$;
