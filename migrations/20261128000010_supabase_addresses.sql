-- When the token was issued that a user's e-mail address was taken from: an older one, which is good for some time after
-- the address was changed at Supabase, must not bring the former address back. Null for those who have none of a token,
-- and for those who came before.

ALTER TABLE users ADD COLUMN supabase_email_at timestamptz;
