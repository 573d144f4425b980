//! Subscriptions: which workers are woken when streams grow, and what of that survives a crash (sections 6 and 7).
//!
//! A link is committed with the append that makes its stream match a pattern, so no crash comes between. Pending work
//! isn't stored: it follows from cursors and tails, which are compared after a start ([`startup`]). Every change of a
//! subscription is decided, committed, and only then visible ([`transition`]). ADR 0010 has the reasons.
//!
//! [`Subscriptions`] is a component of its own. Commits of streams call three of its methods:
//! [`Subscriptions::add_link_edits`] before they are queued, [`Subscriptions::resolved`] when they are durable or have
//! failed, and [`Subscriptions::published`] for each stream whose new state readers can see. The component itself knows
//! the service as a [`Core`], which can append a wake event.

mod component;
mod delivery;
mod driver;
mod links;
mod patterns;
mod registry;
mod requests;
mod startup;
mod stored;
#[cfg(test)]
mod tests;
mod transition;

pub(crate) use component::{Core, Subscriptions, WakeEvents};
pub(crate) use links::{CommitWithLinks, InFlightLinks};
pub(crate) use requests::has_body;
