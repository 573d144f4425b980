//! Subscriptions (sections 6 and 7): durable cursors over many streams that wake a worker when there is something new.
//!
//! A [`Subscription`] has a [`Config`], which never changes, and a state of [`Wakes`]; each of its streams has a
//! [`Link`] with a cursor. Each event is a transition of those three; time, pending work and randomness are arguments.
//! Tokens, wake ids and signatures are functions of secrets that are passed in. Requests are in
//! [`op::subscription`](crate::op::subscription).

pub mod config;
pub mod keys;
pub mod link;
pub mod pattern;
mod refusal;
mod state;
pub mod target;
pub mod token;
pub mod view;
pub mod wake;

pub use config::{Config, Delivery};
pub use link::Link;
pub use pattern::Pattern;
pub use refusal::SubscriptionRefusal;
#[cfg(test)]
pub(crate) use state::tests;
pub use state::{
    CONTROL_BODY_BYTES_MAX, ID_BYTES_MAX, LINKS_MAX, Serial, Subscription, SubscriptionId, WAKE_STREAMS_MAX,
};
pub use wake::Wakes;
