-- Whom Supabase signs in has the same id there and here, unless they had an account here before: then this is their id
-- there.

ALTER TABLE users ADD COLUMN supabase_id uuid;
CREATE UNIQUE INDEX IF NOT EXISTS users_supabase_id_key ON users (supabase_id) WHERE supabase_id IS NOT NULL;
