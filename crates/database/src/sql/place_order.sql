-- A whole checkout in one statement, and so in one round trip and one transaction:
--   $1 order id, $2 user id, $3 shipping address, $4 payment method or null,
--   $5 product ids (distinct, ascending), $6 quantities, $7 trace context or null,
--   $8 the most that it may cost, or null.
-- Products are locked one after the other in id order, so that two orders over the same products
-- never deadlock. The lock returns the newest version of each row, whatever the statement's snapshot
-- says, and new stock is computed from that. Nothing is written unless every line is known and
-- available.
--
-- The lateral join has the planner look products up by their key: of a prepared statement's array it
-- does not know the length, and a plain join of a small catalogue then reads all of it, twice.
WITH requested AS MATERIALIZED (
    SELECT product_id, quantity
    FROM unnest($5::uuid[], $6::integer[]) AS line (product_id, quantity)
    ORDER BY product_id
),
locked AS MATERIALIZED (
    SELECT product.id, product.name, product.price, product.stock_quantity, requested.quantity
    FROM requested
    CROSS JOIN LATERAL (
        SELECT id, name, price, stock_quantity
        FROM products
        WHERE products.id = requested.product_id AND is_active
        LIMIT 1
        FOR NO KEY UPDATE
    ) AS product
),
verdict AS MATERIALIZED (
    SELECT
        count(*) = (SELECT count(*) FROM requested)
            AND bool_and(stock_quantity >= quantity)
            AND sum(price * quantity) <= 9999999999.99
            AND sum(price * quantity) <= coalesce($8::numeric, 9999999999.99) AS accepted,
        sum(price * quantity) AS total,
        sum(price * quantity) <= 9999999999.99 AS fits
    FROM locked
),
placed AS (
    INSERT INTO orders (id, user_id, total_amount, shipping_address, payment_method)
    SELECT $1::uuid, $2::uuid, total, $3::text, $4::text
    FROM verdict
    WHERE accepted
    RETURNING total_amount, created_at, updated_at
),
items AS (
    INSERT INTO order_items (order_id, product_id, quantity, unit_price)
    SELECT $1::uuid, id, quantity, price
    FROM locked, verdict
    WHERE accepted
),
reserved AS (
    UPDATE products
    SET stock_quantity = locked.stock_quantity - locked.quantity, updated_at = now()
    FROM locked, verdict
    WHERE products.id = locked.id AND locked.stock_quantity >= locked.quantity AND accepted
),
logged AS (
    INSERT INTO inventory_logs (product_id, previous_quantity, new_quantity, change_reason)
    SELECT id, stock_quantity, stock_quantity - quantity, 'order ' || $1::uuid
    FROM locked, verdict
    WHERE accepted
),
history AS (
    INSERT INTO order_history (order_id, to_status)
    SELECT $1::uuid, 'pending'
    FROM verdict
    WHERE accepted
),
queued AS (
    INSERT INTO outbox (queue, job_name, job_id, trace_parent, payload)
    SELECT
        'order-processing',
        'process-order',
        'order-' || $1::uuid,
        $7::text,
        jsonb_build_object(
            'orderId', $1::uuid,
            'userId', $2::uuid,
            'totalAmount', trim_scale(total),
            'items', (
                SELECT jsonb_agg(
                    jsonb_build_object(
                        'productId', id, 'quantity', quantity, 'price', trim_scale(price)
                    )
                )
                FROM locked
            )
        )
    FROM verdict
    WHERE accepted
)
SELECT
    placed.total_amount AS "total_amount?: Money",
    placed.created_at AS "created_at?",
    placed.updated_at AS "updated_at?",
    (
        SELECT array_agg(product_id)
        FROM requested
        WHERE NOT EXISTS (SELECT FROM locked WHERE locked.id = requested.product_id)
    ) AS unknown,
    (
        SELECT jsonb_agg(
            jsonb_build_object(
                'product_id', id,
                'name', name,
                'requested', quantity,
                'available', stock_quantity
            )
        )
        FROM locked
        WHERE stock_quantity < quantity
    ) AS "short: Json<Vec<Shortage>>",
    CASE WHEN fits AND total > $8::numeric THEN total END AS "dearer: Money"
FROM verdict
LEFT JOIN placed ON true
