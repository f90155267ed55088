//! In place of schemars, which the definitions name and do not use.
