-- The sandbox payment gateway's own books, in a schema of their own: they stand for the records of
-- another company, so nothing of the shop refers to them and they are written in transactions of
-- their own. A charge is found again by its idempotency key, whoever died in between.

CREATE SCHEMA sandbox_gateway;

CREATE TABLE sandbox_gateway.charges (
    idempotency_key text CONSTRAINT charges_pkey PRIMARY KEY,
    amount numeric(12, 2) NOT NULL,
    status text NOT NULL,
    transaction_id text,
    decline_reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    refunded_at timestamptz,
    CONSTRAINT charges_status_check CHECK (status IN ('approved', 'declined', 'voided', 'refunded'))
);

-- Every call that was received, answered or not: the tests count them.
CREATE TABLE sandbox_gateway.requests (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT requests_pkey PRIMARY KEY,
    idempotency_key text NOT NULL,
    operation text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX requests_idempotency_key_idx ON sandbox_gateway.requests (idempotency_key);
