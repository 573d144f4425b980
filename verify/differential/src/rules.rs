//! Properties of every response, and the accepted differences, each with its reason.

use crate::client::Outcome;
use crate::script::Step;

/// A request and its two responses.
pub(crate) struct Exchange<'a> {
    pub(crate) step: &'a Step,
    /// The first server's.
    pub(crate) first: &'a Outcome,
    /// The other's.
    pub(crate) other: &'a Outcome,
    /// Whether the stream is known to hold JSON.
    pub(crate) is_json: bool,
}

impl Exchange<'_> {
    /// The two statuses; 0 where there is no response.
    pub(crate) fn statuses(&self) -> (u16, u16) {
        let status = |outcome: &Outcome| outcome.as_ref().map_or(0, |response| response.status);
        (status(self.first), status(self.other))
    }
}

/// An accepted difference.
pub(crate) struct Rule {
    /// A few words.
    pub(crate) name: &'static str,
    /// The behaviour of the other server.
    pub(crate) theirs: &'static str,
    /// The behaviour of the first server.
    pub(crate) ours: &'static str,
    /// The sentence of the protocol or the RFC that decides, or why the difference is unavoidable.
    pub(crate) because: &'static str,
    /// Whether the rule applies to an exchange and its difference.
    pub(crate) applies: fn(&Exchange<'_>, &str) -> bool,
    /// Whether both servers still have the same streams. If not, the other is set aside for the rest of the script.
    pub(crate) goes_on: bool,
}

/// Differences among our own servers.
pub(crate) const OURS: &[Rule] = &[
    Rule {
        name: "a body that nobody read ends the connection",
        theirs: "actix ends an HTTP/1.1 connection after a response that didn't need the request's body",
        ours: "hyper reads what is left of a small body and goes on",
        because: "RFC 9112, 9.3: a server may close; docs/embedding.md: an adapter can't change it",
        applies: |exchange, what| {
            let (first, other) = (header(exchange.first, "Connection"), header(exchange.other, "Connection"));
            what == "connection" && exchange.step.body.is_some() && first.is_none() && other == Some("close")
        },
        goes_on: true,
    },
    Rule {
        name: "a framework refuses what is no request",
        theirs: "400 and 431 without a problem document for a missing host, or more than its limits",
        ours: "the same, with a problem document or without, or the other of the two where both apply",
        because: "docs/ARCHITECTURE.md, invariants: what a framework refuses before a request exists is its response",
        applies: |exchange, _| {
            let is_bare = |outcome| header(outcome, "Content-Length") == Some("0");
            matches!(exchange.statuses(), (400 | 431, 400 | 431))
                && (is_bare(exchange.first) || is_bare(exchange.other))
        },
        goes_on: true,
    },
    Rule {
        name: "a target that is no URI",
        theirs: "actix answers 400 to bytes beyond ASCII in a path or a query",
        ours: "hyper takes them as they are, so that UTF-8 is what it would be percent-encoded",
        because: "RFC 3986, 2: a URI is ASCII; RFC 9112, 3: a server may answer 400 to what isn't one",
        applies: |exchange, _| exchange.statuses().1 == 400 && !exchange.step.has_plain_target(),
        goes_on: false,
    },
    Rule {
        name: "more than 96 header lines",
        theirs: "actix-http reads at most 96 header lines; one more is 431",
        ours: "up to --headers-max, 100",
        because: "docs/embedding.md and conformance/known_differences.toml: an adapter can't change it",
        applies: |exchange, _| {
            let lines = exchange.step.headers.len() + exchange.step.form.hosts.len();
            exchange.statuses().1 == 431 && (96..=100).contains(&lines)
        },
        goes_on: false,
    },
    Rule {
        name: "HTTP/1.0 POST without a length",
        theirs: "actix answers 400",
        ours: "hyper takes it for a POST without a body",
        because: "RFC 1945, 8.3: a valid Content-Length is required on all HTTP/1.0 POST requests",
        applies: |exchange, _| {
            let step = exchange.step;
            exchange.statuses().1 == 400
                && step.form.is_http_1_0
                && step.method == "POST"
                && step.body.is_none()
        },
        goes_on: false,
    },
];

fn header<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a str> {
    outcome.as_ref().ok()?.headers(name).first().copied()
}

/// The first rule of the list that excuses what differs.
pub(crate) fn excuse(rules: &'static [Rule], exchange: &Exchange<'_>, what: &str) -> Option<&'static Rule> {
    rules.iter().find(|rule| (rule.applies)(exchange, what))
}

/// Checks a response by itself and returns what is wrong with it.
pub(crate) fn always(step: &Step, request: &[u8], outcome: &Outcome) -> Option<&'static str> {
    let Ok(response) = outcome else { return Some("no response") };
    let header = |name| response.headers(name).first().copied();
    if header("Date").is_none() {
        return Some("a response without Date (RFC 9110, 6.6.1)");
    }
    if response.status >= 500 && response.status != 501 && response.status != 505 {
        return Some("a server error");
    }
    let cursors = step.parameters("cursor").count();
    let (sent, cursor) = (sent_cursor(request), header("Stream-Cursor").and_then(|value| value.parse().ok()));
    if let (1, Some(sent), Some(cursor)) = (cursors, sent, cursor)
        && sent >= cursor
    {
        return Some("a cursor that is not past the one that was sent (10.1)");
    }
    None
}

/// The number in `cursor=`, if a server must understand it.
fn sent_cursor(request: &[u8]) -> Option<u64> {
    const LARGEST: u64 = 9_007_199_254_740_991;
    let line = String::from_utf8_lossy(request.split(|&byte| byte == b'\r').next()?).into_owned();
    let query = line.split(' ').nth(1)?.split_once('?')?.1.to_owned();
    let value = query.split('&').find_map(|pair| pair.strip_prefix("cursor="))?;
    value.parse().ok().filter(|&cursor| cursor <= LARGEST && value.len() <= 16)
}

#[cfg(test)]
mod tests {
    use headwater_testkit::Response;

    use super::*;
    use crate::script::{Slot, Text};

    #[test]
    fn a_cursor_must_be_past_the_one_that_was_sent() {
        let step = Step { query: vec![("cursor", Text::is("7"))], ..Step::new("GET", Slot(0)) };
        let request = b"GET /v1/stream/x?offset=-1&cursor=7 HTTP/1.1\r\nHost: x\r\n\r\n";
        let answered = |cursor: &str| {
            let headers = [("Date", "now"), ("Stream-Cursor", cursor)];
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
            let response = Response { request: String::new(), status: 200, headers, body: Vec::new() };
            always(&step, request, &Ok(response))
        };
        assert_eq!(answered("8"), None);
        assert!(answered("7").is_some());
        assert!(answered("6").is_some());
    }
}
