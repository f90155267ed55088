-- What keeps accounts safe: guesses are slowed down, mailboxes are proven, and what administrators do is
-- written down.

-- Sign-ins that have not succeeded, for each address that was tried. An address that nobody has is counted like
-- any other, so that nothing tells the two apart; only its SHA-256 is kept, for the same reason.
CREATE TABLE sign_in_attempts (
    address_hash bytea CONSTRAINT sign_in_attempts_pkey PRIMARY KEY,
    failures integer NOT NULL,
    -- Nobody may try before.
    blocked_until timestamptz,
    -- The count begins anew after it, and the row may go.
    forgotten_at timestamptz NOT NULL,
    CONSTRAINT sign_in_attempts_address_hash_check CHECK (octet_length(address_hash) = 32),
    CONSTRAINT sign_in_attempts_failures_check CHECK (failures > 0)
);
CREATE INDEX sign_in_attempts_forgotten_at_idx ON sign_in_attempts (forgotten_at);
ALTER TABLE sign_in_attempts ENABLE ROW LEVEL SECURITY;

-- When the owner has shown that the mailbox is theirs.
ALTER TABLE users ADD COLUMN email_verified_at timestamptz;

-- Mails about an account. The row of one that carries a link holds the SHA-256 of the link's token, which is made when
-- the mail is sent and is nowhere else: the job in the queue names the row only.
CREATE TABLE account_mails (
    id uuid CONSTRAINT account_mails_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT account_mails_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    kind text NOT NULL,
    sent_at timestamptz,
    token_hash bytea CONSTRAINT account_mails_token_hash_key UNIQUE,
    -- When the token ends by itself.
    expires_at timestamptz,
    -- When it was used, or a newer one took its place.
    ended_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT account_mails_kind_check CHECK (kind IN ('verify_email', 'reset_password', 'password_changed')),
    CONSTRAINT account_mails_token_hash_check CHECK (octet_length(token_hash) = 32),
    CONSTRAINT account_mails_expires_at_check CHECK ((token_hash IS NULL) = (expires_at IS NULL))
);
CREATE INDEX account_mails_user_id_idx ON account_mails (user_id, kind, created_at);
CREATE INDEX account_mails_created_at_idx ON account_mails (created_at);
ALTER TABLE account_mails ENABLE ROW LEVEL SECURITY;

-- What administrators have done. No foreign keys: it outlives what it names.
CREATE TABLE audit_log (
    id uuid CONSTRAINT audit_log_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Null for what was done on the command line.
    actor_id uuid,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    changes jsonb NOT NULL DEFAULT '{}',
    request_id text,
    client_address text,
    CONSTRAINT audit_log_changes_check CHECK (jsonb_typeof(changes) = 'object')
);
CREATE INDEX audit_log_created_at_idx ON audit_log (created_at, id);
CREATE INDEX audit_log_actor_id_idx ON audit_log (actor_id, created_at, id);
CREATE INDEX audit_log_resource_idx ON audit_log (resource_type, resource_id, created_at, id);
ALTER TABLE audit_log ENABLE ROW LEVEL SECURITY;

-- It only grows. Rows go when they are older than a year, which is when the clean-up deletes them, and not before,
-- whoever asks; only who may change the schema could take the trigger away.
CREATE FUNCTION keep_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        IF OLD.created_at < now() - interval '365 days' THEN
            RETURN OLD;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only: rows are never changed, and deleted after 365 days only'
        USING ERRCODE = 'insufficient_privilege';
END
$$;
REVOKE ALL ON FUNCTION keep_audit_log() FROM PUBLIC;
CREATE TRIGGER audit_log_keep_rows BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION keep_audit_log();
CREATE TRIGGER audit_log_keep_all BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION keep_audit_log();
