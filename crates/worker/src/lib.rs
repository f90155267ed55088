//! bharatmart-worker: WORKER_TYPE picks the queues it serves.
