//! The locks of the queue: the model test of the queue puts others in their place.

pub(crate) use std::sync::{Condvar, Mutex};

pub(crate) use crate::engine::lock;
