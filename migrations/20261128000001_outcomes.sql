-- What became of a job that never got where it was to go, or that was worked off without a queue, is
-- written where the job was written, so that an operator sees it and nothing is dropped in silence.

ALTER TABLE outbox
    -- Failed attempts, where the API does the jobs itself.
    ADD COLUMN attempts integer NOT NULL DEFAULT 0,
    -- Given up: the queue will never take it, or its last attempt has failed.
    ADD COLUMN failed_at timestamptz,
    ADD COLUMN failed_reason text,
    -- The W3C Trace Context of the request that made it necessary.
    ADD COLUMN trace_parent text;
CREATE INDEX IF NOT EXISTS outbox_failed_idx ON outbox (id) WHERE failed_at IS NOT NULL;

-- A mail is recorded in the transaction that makes it necessary. So it is known which mail of an order
-- comes before which, and a mail whose job was lost is found again.
ALTER TABLE mail_deliveries ADD COLUMN created_at timestamptz NOT NULL DEFAULT now();
-- Of two transactions that wait for one order, the one that began first may come second.
ALTER TABLE mail_deliveries ALTER COLUMN created_at SET DEFAULT clock_timestamp();
ALTER TABLE mail_deliveries DROP CONSTRAINT mail_deliveries_status_check;
ALTER TABLE mail_deliveries ADD CONSTRAINT mail_deliveries_status_check
    CHECK (status IN ('pending', 'sending', 'sent', 'unconfirmed', 'failed'));
CREATE INDEX IF NOT EXISTS mail_deliveries_open_idx ON mail_deliveries (created_at)
    WHERE status IN ('pending', 'sending');
