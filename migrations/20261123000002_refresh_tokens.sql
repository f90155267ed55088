-- Refresh tokens rotate: each is good once. Those that descend from one sign-in are a family, and a
-- token that is presented twice gives its family away as stolen, so the whole family is revoked.
-- Only the SHA-256 of a token is kept.

CREATE TABLE refresh_families (
    id uuid CONSTRAINT refresh_families_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT refresh_families_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_families_user_id_idx ON refresh_families (user_id);

CREATE TABLE refresh_tokens (
    token_hash bytea CONSTRAINT refresh_tokens_pkey PRIMARY KEY,
    family_id uuid NOT NULL CONSTRAINT refresh_tokens_family_id_fkey
        REFERENCES refresh_families (id) ON DELETE CASCADE,
    spent_at timestamptz,
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX refresh_tokens_family_id_idx ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_expires_at_idx ON refresh_tokens (expires_at);
