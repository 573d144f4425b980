//! The rules of Durable Streams as pure functions: no async, no clock, no randomness, no files.
