-- A shop of the size that `cargo xtask plans` measures. Counts come as the settings plans.products,
-- plans.orders, plans.payments and plans.users.
--
-- What real data has and evenly spread data has not: few categories hold most products, few
-- customers place most orders, nearly every order is delivered, some products are hidden or out of
-- stock, and many share a price. The same seed, hence the same rows, each time.

SET session_replication_role = replica;
SET maintenance_work_mem = '1GB';
SELECT setseed(0.4);

-- Filling a table first and indexing it afterwards takes a third of the time.
CREATE TEMPORARY TABLE later AS
    SELECT indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'public'
        AND tablename IN ('users', 'products', 'orders', 'payments')
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conname = indexname);
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT indexname FROM later LOOP
        EXECUTE format('DROP INDEX public.%I', name);
    END LOOP;
END
$$;

INSERT INTO users (id, email, full_name, created_at, updated_at)
SELECT
    md5('user' || n)::uuid,
    'customer' || n || '@example.in',
    'Customer ' || n,
    timestamptz '2022-01-01' + n * interval '8 minutes',
    now()
FROM generate_series(1, current_setting('plans.users')::integer) AS n;

INSERT INTO products (
    id, name, description, price, category, is_active, stock_quantity, sku, created_at, updated_at
)
SELECT
    md5('product' || n)::uuid,
    brand || ' ' || kind || ' ' || n % 9000,
    'A ' || lower(kind) || ' by ' || brand || ', ' || finish
        || ', made for homes from Kutch to Kohima and sent within two days.',
    -- Between 10 and about 60,000 rupees, most of them cheap, many at a price that ends in 9 or 0.
    round(10 * exp(random() * random() * 8.7)::numeric, CASE WHEN n % 3 = 0 THEN 2 ELSE 0 END),
    CASE WHEN n % 40 = 0 THEN upper(category) ELSE category END,
    n % 20 <> 7,
    CASE WHEN random() < 0.08 THEN 0 ELSE floor(random() * 500)::integer END,
    'SKU-' || lpad(n::text, 8, '0'),
    timestamptz '2022-01-01' + (n::bigint * 7919 % 1500000) * interval '90 seconds',
    now()
FROM (
    SELECT
        n,
        (ARRAY['Amrit','Bombay','Chandra','Deccan','Ekta','Falcon','Ganga','Himal','Indus','Jaya',
               'Kaveri','Lotus','Malabar','Nilgiri','Om','Prithvi','Rani','Surya','Tara','Vayu'])
            [1 + floor(random() * 20)::integer] AS brand,
        (ARRAY['Kettle','Lamp','Sari','Kurta','Phone','Charger','Atlas','Novel','Rice','Tea','Drum',
               'Flute','Racket','Bat','Shelf','Desk','Pan','Kadhai','Lantern','Mixer','Blanket',
               'Pillow','Watch','Ring','Bangle','Sandal','Jacket','Umbrella','Bicycle','Helmet'])
            [1 + floor(random() * 30)::integer] AS kind,
        (ARRAY['matt','glossy','hand made','brass','cotton','100% wool','oak_veneer','steel'])
            [1 + floor(random() * 8)::integer] AS finish,
        'Category ' || floor(60 * power(random(), 3))::integer AS category
    FROM generate_series(1, current_setting('plans.products')::integer) AS n
) AS made;

INSERT INTO orders (
    id, user_id, status, total_amount, shipping_address, payment_method, processed_at, created_at,
    updated_at
)
SELECT
    md5('order' || n)::uuid,
    md5('user' || 1 + floor(current_setting('plans.users')::integer * power(random(), 3)))::uuid,
    CASE
        WHEN share < 0.90 THEN 'delivered'
        WHEN share < 0.96 THEN 'cancelled'
        WHEN share < 0.98 THEN 'shipped'
        WHEN share < 0.99 THEN 'processing'
        WHEN share < 0.998 THEN 'payment_failed'
        ELSE 'pending'
    END,
    round((50 + 5000 * random())::numeric, 2),
    n % 400 || ' MG Road, Bengaluru 560001',
    'upi',
    created_at,
    created_at,
    created_at
FROM (
    SELECT
        n,
        random() AS share,
        timestamptz '2023-01-01' + n * interval '15 seconds' + random() * interval '15 seconds'
            AS created_at
    FROM generate_series(1, current_setting('plans.orders')::integer) AS n
) AS made;

-- The latest orders are those that were paid for here.
INSERT INTO payments (
    id, order_id, amount, status, payment_method, processed_at, created_at, updated_at
)
SELECT
    md5('payment' || n)::uuid,
    md5('order' || n)::uuid,
    round((50 + 5000 * random())::numeric, 2),
    CASE
        WHEN share < 0.93 THEN 'completed'
        WHEN share < 0.97 THEN 'failed'
        WHEN share < 0.995 THEN 'refunded'
        ELSE 'pending'
    END,
    'upi',
    created_at,
    created_at,
    created_at
FROM (
    SELECT
        n,
        random() AS share,
        timestamptz '2023-01-01' + n * interval '15 seconds' + random() * interval '15 seconds'
            AS created_at
    FROM generate_series(
        current_setting('plans.orders')::integer - current_setting('plans.payments')::integer + 1,
        current_setting('plans.orders')::integer
    ) AS n
) AS made;

DO $$
DECLARE definition text;
BEGIN
    FOR definition IN SELECT indexdef FROM later LOOP
        EXECUTE definition;
    END LOOP;
END
$$;
-- Sets the visibility map, which index-only scans depend on, as autovacuum does in a live shop.
VACUUM (ANALYZE) users, products, orders, payments;
