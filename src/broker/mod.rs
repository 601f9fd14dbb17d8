//! Brokers for tests, demos and examples.
