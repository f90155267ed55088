-- Administrators look for people by a part of their name or e-mail address. Trigrams find it wherever it is in the text;
-- without them every search reads all users.

CREATE INDEX IF NOT EXISTS users_search_idx ON users
    USING gin ((full_name || ' ' || email) gin_trgm_ops);
-- The planner knows how common a text is only after the expression was analysed.
ANALYZE users;
