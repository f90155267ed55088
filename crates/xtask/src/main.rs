//! The developer's own tool.
fn main() {}
