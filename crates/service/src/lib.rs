//! One request in, one response out: the only crate of Headwater that waits.
