-- Reports to those who run the shop: one of each kind a day for each of them, however often it is asked
-- for. The mail leaves through the outbox like any other; here is written that it did.

CREATE TABLE report_mails (
    kind text NOT NULL,
    -- The day in India.
    day date NOT NULL,
    user_id uuid NOT NULL CONSTRAINT report_mails_user_id_fkey REFERENCES users (id) ON DELETE CASCADE,
    sent_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT report_mails_pkey PRIMARY KEY (kind, day, user_id),
    CONSTRAINT report_mails_kind_check CHECK (kind IN ('low_stock'))
);
CREATE INDEX report_mails_user_id_idx ON report_mails (user_id);
ALTER TABLE report_mails ENABLE ROW LEVEL SECURITY;
