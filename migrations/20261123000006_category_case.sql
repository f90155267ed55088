-- Lists filter by category whatever its capitals: `?category=Books` and `?category=books` are the
-- same question, so the cache keeps one answer for both.
--
-- Under the collation "C" lower() changes A to Z and nothing else, in every database. The database's
-- own locale would decide about other letters, and the program, which writes the value to compare
-- with, cannot know it.

DROP INDEX products_category_idx;
-- The index has the name as it is spelled, too, so that counting a category's products and listing
-- the categories read nothing else.
CREATE INDEX products_category_idx ON products (lower(category COLLATE "C"), name, id)
    INCLUDE (category) WHERE is_active;
