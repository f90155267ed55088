-- Customers quote the end of an order's id, which is all of it that they see. Nothing that a checkout changes later is in
-- this index, so the updates of an order stay heap-only.

CREATE INDEX IF NOT EXISTS orders_number_idx ON orders (right(id::text, 8));
-- The planner knows that a number is of one order only after the expression was analysed.
ANALYZE orders;
