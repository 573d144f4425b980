//! What the benchmark shares with other programs that load a server: an HTTP client that costs little.

pub mod http;
