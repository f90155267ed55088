-- Webhooks of the payment gateway.

-- The events that were received, written in the transaction of their effect: either both are there or neither,
-- so an event that comes again is known.
CREATE TABLE payment_events (
    id text CONSTRAINT payment_events_pkey PRIMARY KEY,
    type text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payment_events_id_check CHECK (octet_length(id) BETWEEN 1 AND 255)
);
CREATE INDEX payment_events_received_at_idx ON payment_events (received_at);
ALTER TABLE payment_events ENABLE ROW LEVEL SECURITY;

-- The sandbox's side. A charge may be accepted first and decided later.
ALTER TABLE sandbox_gateway.charges
    ADD COLUMN settles_at timestamptz,
    DROP CONSTRAINT charges_status_check,
    ADD CONSTRAINT charges_status_check
        CHECK (status IN ('pending', 'approved', 'declined', 'voided', 'refunded')),
    ADD CONSTRAINT charges_settles_at_check CHECK (status <> 'pending' OR settles_at IS NOT NULL);
CREATE INDEX charges_settles_at_idx ON sandbox_gateway.charges (settles_at) WHERE status = 'pending';

-- What is to be reported, written in the transaction of the charge's status, and kept until it was delivered.
CREATE TABLE sandbox_gateway.webhooks (
    id text CONSTRAINT webhooks_pkey PRIMARY KEY,
    idempotency_key text NOT NULL,
    status text NOT NULL,
    payload text NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    delivered_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_idempotency_key_status_key UNIQUE (idempotency_key, status)
);
CREATE INDEX webhooks_next_attempt_at_idx ON sandbox_gateway.webhooks (next_attempt_at) WHERE delivered_at IS NULL;
ALTER TABLE sandbox_gateway.webhooks ENABLE ROW LEVEL SECURITY;
