//! The cases, one file per subject.

mod append;
mod caching;
mod caching_scope;
mod chunks;
mod conditional;
mod connections;
mod cors;
mod create;
mod cursor;
mod expected_offset;
mod fork_lifecycle;
mod fork_refusals;
mod forking;
mod forks;
mod forwarded;
mod http;
mod http_limits;
mod http_versions;
mod incarnations;
mod json;
mod lifetime;
mod lifetime_headers;
mod long_poll;
mod metrics;
mod names;
mod offsets;
mod preconditions;
mod producer_closes;
mod producers;
mod pull_wake;
mod refusals;
mod smuggling;
mod sse;
mod sse_resuming;
mod sse_text;
mod sse_types;
mod stream_seq;
mod subscriptions;
mod webhooks;

use crate::case::Case;

/// Every case, subject by subject.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let subjects = [
        caching::CASES,
        caching_scope::CASES,
        offsets::CASES,
        incarnations::CASES,
        chunks::CASES,
        conditional::CASES,
        cursor::CASES,
        long_poll::CASES,
        sse::CASES,
        sse_resuming::CASES,
        sse_text::CASES,
        sse_types::CASES,
        create::CASES,
        lifetime_headers::CASES,
        lifetime::CASES,
        append::CASES,
        stream_seq::CASES,
        producers::CASES,
        producer_closes::CASES,
        json::CASES,
        forks::CASES,
        fork_refusals::CASES,
        expected_offset::CASES,
        preconditions::CASES,
        fork_lifecycle::CASES,
        names::CASES,
        metrics::CASES,
        cors::CASES,
        refusals::CASES,
        forwarded::CASES,
        http::CASES,
        connections::CASES,
        http_limits::CASES,
        http_versions::CASES,
        smuggling::CASES,
        subscriptions::CASES,
        webhooks::CASES,
        pull_wake::CASES,
    ];
    subjects.into_iter().flatten().copied()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_source_is_a_place_that_anybody_can_open() {
        let standards =
            ["section ", "RFC ", "Fetch Standard, ", "HTML Living Standard, ", "Resource Timing, "];
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
        for case in all() {
            let known = standards.iter().any(|standard| case.source.starts_with(standard));
            let page = case.source.split([',', ':', ';']).next().unwrap_or_default();
            assert!(known || root.join(page).is_file(), "{}::{}: {}", case.subject(), case.name, case.source);
        }
    }
}
