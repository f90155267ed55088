//! What a shop does: place an order, take a payment, release stock.
