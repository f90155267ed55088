-- What was answered to a request that carried an Idempotency-Key, written in the transaction of its effect:
-- either both are there or neither.

CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL CONSTRAINT idempotency_keys_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    key text NOT NULL,
    -- SHA-256 of the request's method, path and body.
    fingerprint bytea NOT NULL,
    -- What the request made.
    resource_id uuid NOT NULL,
    -- The body of the answer, to the letter.
    answer text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_key_check CHECK (octet_length(key) BETWEEN 1 AND 255),
    CONSTRAINT idempotency_keys_fingerprint_check CHECK (octet_length(fingerprint) = 32)
);
CREATE INDEX idempotency_keys_created_at_idx ON idempotency_keys (created_at);
ALTER TABLE idempotency_keys ENABLE ROW LEVEL SECURITY;
