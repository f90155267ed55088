//! bharatmart-api: HTTP in, HTTP out.
