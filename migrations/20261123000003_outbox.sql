-- The transactional outbox: a job is a row in the transaction that makes it necessary, and a relay
-- carries it to the queue afterwards. Redis can be away for as long as it likes.

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
    queue text NOT NULL,
    job_name text NOT NULL,
    -- Deterministic, so that carrying a row twice adds one job.
    job_id text NOT NULL,
    payload jsonb NOT NULL,
    -- When the job may start; later than now makes it a delayed job.
    run_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    dispatched_at timestamptz
);
-- The relay reads the undispatched rows in order; the index holds only those.
CREATE INDEX outbox_undispatched_idx ON outbox (id) WHERE dispatched_at IS NULL;
-- The clean-up removes what was dispatched long ago.
CREATE INDEX outbox_dispatched_at_idx ON outbox USING brin (dispatched_at);

-- What became of each mail. A mail is marked `sending` just before its content is handed over, so a
-- worker that dies after that moment never sends it a second time.
CREATE TABLE mail_deliveries (
    order_id uuid NOT NULL CONSTRAINT mail_deliveries_order_id_fkey REFERENCES orders (id),
    kind text NOT NULL,
    message_id text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mail_deliveries_pkey PRIMARY KEY (order_id, kind),
    CONSTRAINT mail_deliveries_status_check CHECK (status IN ('pending', 'sending', 'sent', 'unconfirmed'))
);
