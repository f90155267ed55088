-- A mail waits for those of its order that became necessary before it, but not for ever. How long it has
-- waited counts from its own first attempt: after an outage all of them are old.

ALTER TABLE mail_deliveries ADD COLUMN first_tried_at timestamptz;
