-- Where the API does the jobs itself, the outbox is the queue. Whoever takes a job leases its row for a
-- while and renews that as long as it works on it, so that no transaction stays open for as long as a
-- job runs, and the jobs of a process that died are free again when its leases end.

ALTER TABLE outbox
    -- Another one each time that the row is taken: who finds another than their own has lost it.
    ADD COLUMN lease uuid,
    ADD COLUMN leased_until timestamptz,
    -- How often a lease ended without a word: a job that kills those who do it is not tried for ever.
    ADD COLUMN stalls integer NOT NULL DEFAULT 0;
-- What is due in a queue, first what was due first. Jobs for later are many, and lie behind.
CREATE INDEX IF NOT EXISTS outbox_due_idx ON outbox (queue, run_at, id) WHERE dispatched_at IS NULL;
