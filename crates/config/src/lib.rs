//! Typed settings; the only code that reads the environment.
