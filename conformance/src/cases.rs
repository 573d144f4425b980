//! The cases, one file per subject.

mod append;
mod caching;
mod chunks;
mod conditional;
mod cors;
mod create;
mod cursor;
mod forks;
mod http;
mod incarnations;
mod json;
mod lifetime;
mod long_poll;
mod names;
mod offsets;
mod producers;
mod refusals;
mod smuggling;
mod sse;
mod sse_text;

use crate::case::Case;

/// Every case, subject by subject.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    let subjects = [
        caching::CASES,
        offsets::CASES,
        incarnations::CASES,
        chunks::CASES,
        conditional::CASES,
        cursor::CASES,
        long_poll::CASES,
        sse::CASES,
        sse_text::CASES,
        create::CASES,
        append::CASES,
        producers::CASES,
        json::CASES,
        forks::CASES,
        lifetime::CASES,
        names::CASES,
        cors::CASES,
        refusals::CASES,
        http::CASES,
        smuggling::CASES,
    ];
    subjects.into_iter().flatten().copied()
}
