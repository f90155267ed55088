//! The tests are under `tests/`.
