//! The Node reference server beside the first of ours: only what the protocol fixes is compared.
//!
//! That is the status, the flags, the types, the lifetimes, what producers are told, the bytes of reads, and which
//! offsets are the same and which come later ([`Places`]). JSON is compared as the values that it holds: a server may
//! store another spelling of it. Where ours answers with a chunk and Node with all, the chunk must be the beginning
//! of it.

use headwater_testkit::Response;

use crate::client::{Outcome, is_events};
use crate::events::{Events, values};
use crate::node_rules::NODE;
use crate::notes::next_offset;
use crate::places::Places;
use crate::rules::{self, Exchange, Rule};

/// The rules that excuse what differs.
///
/// # Errors
/// The difference that no rule excuses.
pub(crate) fn compare(exchange: &Exchange<'_>, places: &mut Places) -> Result<Vec<&'static Rule>, String> {
    let named = |what: &str| match exchange.statuses() {
        (ours, theirs) if what == "status" => format!("status, {ours} and {theirs}"),
        _ => what.to_owned(),
    };
    let differing = differing(exchange, places).into_iter();
    differing.map(|what| rules::excuse(NODE, exchange, what).ok_or_else(|| named(what))).collect()
}

/// Whether the response is a chunk that ends before the tail.
pub(crate) fn is_partial(outcome: &Outcome) -> bool {
    let is_partial = |response: &Response| {
        response.request.starts_with("GET ")
            && response.status == 200
            && response.headers("Stream-Next-Offset").len() == 1
            && !is_true(response, "Stream-Up-To-Date")
    };
    outcome.as_ref().is_ok_and(is_partial)
}

/// The differing parts, one word each.
fn differing(exchange: &Exchange<'_>, places: &mut Places) -> Vec<&'static str> {
    if exchange.step.has_another_name() {
        return vec!["name"];
    }
    let (Ok(ours), Ok(theirs)) = (exchange.first, exchange.other) else { return vec!["answer"] };
    if ours.status != theirs.status {
        return vec!["status"];
    }
    // Refusals have no form in the protocol, besides what conflicts and fences tell.
    let mut differs = match ours.status {
        200..=299 if is_events(ours) || is_events(theirs) => event_streams(ours, theirs, exchange.is_json),
        200..=299 => successes(exchange, ours, theirs),
        304 => return Vec::new(),
        _ => refusals(ours, theirs),
    };
    if !is_partial(exchange.first) {
        let same =
            places.agree(exchange.step.slot, next_offset(ours).as_deref(), next_offset(theirs).as_deref());
        differs.push(("Stream-Next-Offset", !same));
    }
    differs.into_iter().filter_map(|(what, differs)| differs.then_some(what)).collect()
}

fn successes(exchange: &Exchange<'_>, ours: &Response, theirs: &Response) -> Vec<(&'static str, bool)> {
    let same = |name| header(ours, name) == header(theirs, name);
    let is_partial = is_partial(exchange.first);
    let method = exchange.step.method;
    let mut differs = refusals(ours, theirs);
    differs.extend([
        ("Content-Type", type_of(ours) != type_of(theirs)),
        (
            "JSON",
            // A fork's type may be said by another spelling than its source's.
            method == "PUT"
                && (header(ours, "Content-Type").is_some_and(is_json_to_one)
                    || exchange.step.says("Content-Type", is_json_to_one)),
        ),
        ("Stream-Visibility", method == "PUT" && exchange.step.has("Stream-Visibility")),
        ("Stream-TTL", !same("Stream-TTL")),
        ("Stream-Expires-At", !same("Stream-Expires-At")),
        ("Location", path_of(ours) != path_of(theirs)),
        ("Stream-Cursor", method == "GET" && lacks_cursor(ours, theirs)),
        ("ETag", method == "GET" && header(ours, "ETag").is_some() != header(theirs, "ETag").is_some()),
        ("Stream-Up-To-Date", !is_partial && flags(ours, theirs, "Stream-Up-To-Date")),
        ("body", method == "GET" && !same_bytes(ours, theirs, exchange.is_json, is_partial)),
    ]);
    if is_partial {
        differs.retain(|(what, _)| *what != "Stream-Closed");
    }
    differs
}

fn refusals(ours: &Response, theirs: &Response) -> Vec<(&'static str, bool)> {
    let same = |name| header(ours, name) == header(theirs, name);
    vec![
        ("Stream-Closed", flags(ours, theirs, "Stream-Closed")),
        ("Producer-Epoch", !same("Producer-Epoch")),
        ("Producer-Seq", !same("Producer-Seq")),
        ("Producer-Expected-Seq", !same("Producer-Expected-Seq")),
        ("Producer-Received-Seq", !same("Producer-Received-Seq")),
    ]
}

fn event_streams(ours: &Response, theirs: &Response, is_json: bool) -> Vec<(&'static str, bool)> {
    const ENCODING: &str = "Stream-SSE-Data-Encoding";
    let is_base64 = header(ours, ENCODING).is_some();
    let (one, other) = (Events::of(ours, is_base64, is_json), Events::of(theirs, is_base64, is_json));
    vec![
        ("Content-Type", type_of(ours) != type_of(theirs)),
        (ENCODING, header(ours, ENCODING) != header(theirs, ENCODING)),
        ("data events", one.data != other.data),
        ("upToDate", one.is_up_to_date != other.is_up_to_date),
        ("streamClosed", one.is_closed != other.is_closed),
        ("streamCursor", one.has_cursor != other.has_cursor),
    ]
}

/// Whether the bytes read agree: JSON by its values, a chunk by the beginning.
fn same_bytes(ours: &Response, theirs: &Response, is_json: bool, is_partial: bool) -> bool {
    let (Some(ours_values), Some(their_values)) = (values(&ours.body), values(&theirs.body)) else {
        // Too deep for this parser, perhaps: then an array goes on where ours has a bracket.
        let ours_begins = ours.body.strip_suffix(b"]").unwrap_or(&ours.body);
        let is_beginning = is_partial && theirs.body.starts_with(ours_begins);
        return ours.body == theirs.body || is_beginning;
    };
    if !is_json {
        return ours.body == theirs.body || (is_partial && theirs.body.starts_with(&ours.body));
    }
    ours_values == their_values || (is_partial && their_values.starts_with(&ours_values))
}

/// Ours has one on catch-up responses too, and Node on those of a closed stream: both as they may.
fn lacks_cursor(ours: &Response, theirs: &Response) -> bool {
    let (one, other) = (header(ours, "Stream-Cursor"), header(theirs, "Stream-Cursor"));
    one.is_none() && other.is_some() && !is_true(ours, "Stream-Closed")
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers(name).first().copied()
}

fn is_true(response: &Response, name: &str) -> bool {
    header(response, name) == Some("true")
}

fn flags(ours: &Response, theirs: &Response, name: &str) -> bool {
    header(ours, name) != header(theirs, name)
}

/// Case and space don't count.
fn type_of(response: &Response) -> Option<String> {
    header(response, "Content-Type").map(|value| value.to_ascii_lowercase().replace(' ', ""))
}

/// Whether exactly one of two readings of the type is JSON: equal to application/json in any case, or containing it.
fn is_json_to_one(content_type: &str) -> bool {
    const JSON: &str = "application/json";
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(JSON) != content_type.contains(JSON)
}

fn path_of(response: &Response) -> Option<&str> {
    let location = header(response, "Location")?;
    let Some((_, rest)) = location.split_once("://") else { return Some(location) };
    rest.find('/').and_then(|at| rest.get(at..))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::{Slot, Step};

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Outcome {
        let headers = headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        Ok(Response { request: "GET ".to_owned(), status, headers, body: body.into() })
    }

    fn differing_between(ours: &Outcome, theirs: &Outcome, is_json: bool) -> Vec<&'static str> {
        let exchange = Exchange { step: &Step::new("GET", Slot(0)), first: ours, other: theirs, is_json };
        differing(&exchange, &mut Places::default())
    }

    #[test]
    fn a_chunk_is_the_beginning_of_all() {
        let chunk = response(200, &[("Stream-Next-Offset", "1_2")], "ab");
        let all = |body| response(200, &[("Stream-Next-Offset", "0_4"), ("Stream-Up-To-Date", "true")], body);
        assert!(differing_between(&chunk, &all("abcd"), false).is_empty());
        assert_eq!(differing_between(&chunk, &all("bcd"), false), ["body"]);
    }

    #[test]
    fn json_counts_by_its_values() {
        let one = response(200, &[("Stream-Up-To-Date", "true")], "[ 1.0, {\"a\" : -0}]");
        let other = response(200, &[("Stream-Up-To-Date", "true")], "[1,{\"a\":0}]");
        assert!(differing_between(&one, &other, true).is_empty());
        assert_eq!(differing_between(&one, &other, false), ["body"]);
    }

    #[test]
    fn every_rule_says_who_does_what_and_why() {
        for rule in rules::OURS.iter().chain(NODE) {
            let Rule { name, theirs, ours, because, .. } = rule;
            assert!([name, theirs, ours, because].iter().all(|text| !text.is_empty()), "{name}");
        }
    }
}
