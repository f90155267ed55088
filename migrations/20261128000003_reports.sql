-- Reports to the administrators go out by mail, each to each of them once, however often the job runs that
-- writes them: who gets which is recorded in the transaction that makes the mail necessary.

CREATE TABLE report_mails (
    kind text NOT NULL,
    day date NOT NULL,
    user_id uuid NOT NULL CONSTRAINT report_mails_user_id_fkey REFERENCES users (id),
    status text NOT NULL DEFAULT 'pending',
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT report_mails_pkey PRIMARY KEY (kind, day, user_id),
    -- As in mail_deliveries.
    CONSTRAINT report_mails_status_check
        CHECK (status IN ('pending', 'sending', 'sent', 'unconfirmed', 'failed'))
);
-- Nobody but the shop: see the migration about row-level security.
ALTER TABLE report_mails ENABLE ROW LEVEL SECURITY;
