-- The shop: who buys, what is sold, what was ordered and how it was paid.
--
-- The constraints state what is true of every row, so that no program, and no operator's SQL, can
-- break it. Order history outlives everything: nothing here cascades.

CREATE EXTENSION IF NOT EXISTS pg_trgm;

-- A statement that sets updated_at itself spares each row the call of this trigger.
CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at = now();
    RETURN NEW;
END
$$;

CREATE TABLE users (
    id uuid CONSTRAINT users_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL,
    full_name text NOT NULL,
    -- A PHC string (argon2id); null for people who cannot sign in with a password.
    password_hash text,
    address text,
    phone text,
    role text NOT NULL DEFAULT 'customer',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_role_check CHECK (role IN ('customer', 'admin'))
);
-- One account an address, whatever its capitals.
CREATE UNIQUE INDEX users_email_key ON users (lower(email));
CREATE INDEX users_created_at_idx ON users (created_at, id);
CREATE TRIGGER users_set_updated_at BEFORE UPDATE ON users
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION set_updated_at();

CREATE TABLE products (
    id uuid CONSTRAINT products_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL,
    description text,
    price numeric(12, 2) NOT NULL,
    category text,
    image_url text,
    is_active boolean NOT NULL DEFAULT true,
    stock_quantity integer NOT NULL DEFAULT 0,
    sku text CONSTRAINT products_sku_key UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_name_check CHECK (name <> ''),
    CONSTRAINT products_price_check CHECK (price >= 0),
    CONSTRAINT products_stock_quantity_check CHECK (stock_quantity >= 0)
)
-- Room on each page for the new versions of rows whose stock changes all day (heap-only updates).
WITH (fillfactor = 70);
CREATE INDEX products_name_idx ON products (name, id) WHERE is_active;
CREATE INDEX products_price_idx ON products (price, id) WHERE is_active;
CREATE INDEX products_created_at_idx ON products (created_at, id) WHERE is_active;
CREATE INDEX products_category_idx ON products (category, name, id) WHERE is_active;
CREATE INDEX products_search_idx ON products
    USING gin ((name || ' ' || coalesce(description, '') || ' ' || coalesce(sku, '')) gin_trgm_ops);
CREATE TRIGGER products_set_updated_at BEFORE UPDATE ON products
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION set_updated_at();

CREATE TABLE orders (
    id uuid CONSTRAINT orders_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL CONSTRAINT orders_user_id_fkey REFERENCES users (id),
    status text NOT NULL DEFAULT 'pending',
    total_amount numeric(12, 2) NOT NULL DEFAULT 0,
    shipping_address text NOT NULL,
    -- Null: prepaid, by a method that the payment will name.
    payment_method text,
    -- When the order worker confirmed it.
    processed_at timestamptz,
    -- When its stock went back; stock goes back once.
    restocked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT orders_status_check CHECK (
        status IN ('pending', 'processing', 'shipped', 'delivered', 'cancelled', 'payment_failed')
    ),
    CONSTRAINT orders_total_amount_check CHECK (total_amount >= 0),
    CONSTRAINT orders_payment_method_check CHECK (
        payment_method IN ('credit_card', 'debit_card', 'upi', 'net_banking', 'paypal', 'cash_on_delivery')
    )
);
CREATE INDEX orders_user_id_idx ON orders (user_id, created_at, id);
CREATE INDEX orders_created_at_idx ON orders (created_at, id);
CREATE INDEX orders_status_idx ON orders (status, created_at, id);
CREATE TRIGGER orders_set_updated_at BEFORE UPDATE ON orders
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION set_updated_at();

CREATE TABLE order_items (
    id uuid CONSTRAINT order_items_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id uuid NOT NULL CONSTRAINT order_items_order_id_fkey REFERENCES orders (id),
    product_id uuid NOT NULL CONSTRAINT order_items_product_id_fkey REFERENCES products (id),
    quantity integer NOT NULL,
    unit_price numeric(12, 2) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT order_items_quantity_check CHECK (quantity > 0),
    CONSTRAINT order_items_unit_price_check CHECK (unit_price >= 0)
);
CREATE INDEX order_items_order_id_idx ON order_items (order_id);
CREATE INDEX order_items_product_id_idx ON order_items (product_id);

CREATE TABLE order_history (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT order_history_pkey PRIMARY KEY,
    order_id uuid NOT NULL CONSTRAINT order_history_order_id_fkey REFERENCES orders (id),
    -- Null for the first entry.
    from_status text,
    to_status text NOT NULL,
    reason text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX order_history_order_id_idx ON order_history (order_id, id);

CREATE TABLE payments (
    id uuid CONSTRAINT payments_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    order_id uuid NOT NULL CONSTRAINT payments_order_id_fkey REFERENCES orders (id),
    amount numeric(12, 2) NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    payment_method text NOT NULL,
    -- What the gateway knows the customer's card or handle by; never a card number.
    payment_token text,
    -- The gateway's own name for the charge.
    transaction_id text,
    failure_reason text,
    refund_requested_at timestamptz,
    processed_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_amount_check CHECK (amount >= 0),
    CONSTRAINT payments_status_check CHECK (
        status IN ('pending', 'completed', 'failed', 'refunded')
    ),
    CONSTRAINT payments_payment_method_check CHECK (
        payment_method IN ('credit_card', 'debit_card', 'upi', 'net_banking', 'paypal', 'cash_on_delivery')
    )
);
-- An order is paid for once: a second attempt waits until the first has failed.
CREATE UNIQUE INDEX payments_order_id_open_key ON payments (order_id)
    WHERE status IN ('pending', 'completed');
CREATE INDEX payments_order_id_idx ON payments (order_id, created_at);
CREATE INDEX payments_created_at_idx ON payments (created_at, id);
CREATE INDEX payments_status_idx ON payments (status, created_at, id);
CREATE TRIGGER payments_set_updated_at BEFORE UPDATE ON payments
    FOR EACH ROW WHEN (OLD.updated_at = NEW.updated_at) EXECUTE FUNCTION set_updated_at();

CREATE TABLE inventory_logs (
    id uuid CONSTRAINT inventory_logs_pkey PRIMARY KEY DEFAULT gen_random_uuid(),
    product_id uuid NOT NULL CONSTRAINT inventory_logs_product_id_fkey REFERENCES products (id),
    previous_quantity integer NOT NULL DEFAULT 0,
    new_quantity integer NOT NULL DEFAULT 0,
    change integer GENERATED ALWAYS AS (new_quantity - previous_quantity) STORED,
    change_reason text,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX inventory_logs_product_id_idx ON inventory_logs (product_id, created_at);
