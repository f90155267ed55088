-- What the reconciliation looks for: work whose job was lost with a Redis or ran out of attempts
-- while the database or the gateway was away. Each index holds only what is still to be done.

CREATE INDEX orders_unprocessed_idx ON orders (created_at) WHERE processed_at IS NULL;
CREATE INDEX payments_refund_owed_idx ON payments (refund_requested_at)
    WHERE refund_requested_at IS NOT NULL AND status IN ('pending', 'completed');
