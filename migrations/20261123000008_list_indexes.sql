-- What lists of products lacked at a million of them: a category in the order of its prices or of its
-- dates walked through the products of all categories, and the planner did not know how many products
-- a category has, because it does not look at the statistics of a partial index.
--
-- No index may hold stock_quantity, not even as a condition: each checkout changes it, and only a
-- column that no index knows is changed without touching every index of the row (heap-only updates).
-- Lists by stock therefore filter as they walk.
--
-- CREATE INDEX keeps writers of the table out while it runs: about a second for each million rows. On a
-- shop that cannot spare that, see migrations/README.md for how to build them beforehand.

CREATE INDEX IF NOT EXISTS products_category_price_idx
    ON products (lower(category COLLATE "C"), price, id) WHERE is_active;
CREATE INDEX IF NOT EXISTS products_category_created_at_idx
    ON products (lower(category COLLATE "C"), created_at, id) WHERE is_active;
CREATE STATISTICS IF NOT EXISTS products_category_stats
    ON (lower(category COLLATE "C")) FROM products;
-- Statistics are empty until the table is analysed.
ANALYZE products;
