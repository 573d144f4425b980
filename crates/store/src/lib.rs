//! The contract between the Durable Streams rules and whatever keeps the bytes.
