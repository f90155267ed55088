-- Administrators list what was taken off sale, by name. The indexes of the shop's lists leave those products out.
--
-- As with the others, no column that a checkout changes is in it, not even as a condition (see list_indexes).

CREATE INDEX IF NOT EXISTS products_off_sale_name_idx ON products (name, id) WHERE NOT is_active;
