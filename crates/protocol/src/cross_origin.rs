//! Headers with which browsers use a stream from another site, safely (Fetch Standard; section 12.7).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    names,
    request::{METHODS, RequestHead},
    response::{Response, ResponseHead, text_value},
};

/// The header that names the site of the page that asks.
pub const ORIGIN: HeaderName = header::ORIGIN;
/// The headers that pages may send, one by one: a `*` doesn't cover Authorization.
pub const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, Cache-Control, \
    Stream-TTL, Stream-Expires-At, Stream-Seq, Stream-Expected-Offset, Stream-Closed, Stream-Visibility, \
    Stream-Forked-From, Stream-Fork-Offset, Stream-Fork-Sub-Offset, Producer-Id, Producer-Epoch, Producer-Seq";
/// The headers that pages may read.
pub const RESPONSE_HEADERS: &str = "Stream-Next-Offset, Stream-Cursor, Stream-Up-To-Date, Stream-Closed, \
    Stream-TTL, Stream-Expires-At, Stream-SSE-Data-Encoding, Producer-Epoch, Producer-Seq, \
    Producer-Expected-Seq, Producer-Received-Seq, ETag, Location, Age, X-Cache, X-Cache-Hits, Cache-Status, \
    Server-Timing, Retry-After";
const PREFLIGHT_MAX_AGE_S: u64 = 86_400;

/// The sites whose pages may use the streams.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Origins {
    /// All sites. One response serves every site, so caches keep it once.
    #[default]
    Any,
    /// These sites. With more than one the response varies by Origin, and caches keep one for each.
    Only(Vec<HeaderValue>),
}

impl Origins {
    /// Adds the headers that every response carries, refusals included.
    pub fn decorate(&self, headers: &mut HeaderMap, request_origin: Option<&[u8]>) {
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(names::CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
        let allowed = match self {
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => {
                if origins.len() > 1 {
                    headers.append(header::VARY, HeaderValue::from_static("Origin"));
                }
                let named = origins.iter().find(|origin| Some(origin.as_bytes()) == request_origin);
                named.or(origins.first().filter(|_| origins.len() == 1)).cloned()
            }
        };
        if let Some(allowed) = allowed {
            headers.insert(names::TIMING_ALLOW_ORIGIN, allowed.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(RESPONSE_HEADERS));
        }
    }
}

/// The most bytes of names that a preflight may ask for besides [`REQUEST_HEADERS`].
const ASKED_BYTES_MAX: usize = 2_048;

/// An OPTIONS, preflight or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the page wants to send besides [`REQUEST_HEADERS`]: headers of layers and applications, such as `traceparent`.
    asked: Box<str>,
}

impl Options {
    pub(crate) fn parse(head: &impl RequestHead) -> Self {
        let known = |name: &str| REQUEST_HEADERS.split(", ").any(|known| known.eq_ignore_ascii_case(name));
        let mut asked = String::new();
        for line in head.header(&header::ACCESS_CONTROL_REQUEST_HEADERS) {
            let names = line
                .split(|byte| *byte == b',')
                .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
            for name in names.filter(|name| !known(name.as_str())) {
                if asked.len() + name.as_str().len() > ASKED_BYTES_MAX {
                    break;
                }
                asked.push_str(", ");
                asked.push_str(name.as_str());
            }
        }
        Self { asked: asked.into() }
    }

    /// Returns the response. It allows what was asked: which headers matter is for whoever reads them to say.
    #[must_use]
    pub fn respond(&self) -> Response {
        let methods = text_value(&METHODS.join(", "));
        let mut head = ResponseHead::new(StatusCode::NO_CONTENT);
        head.headers.insert(header::ALLOW, methods.clone());
        head.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = text_value(&format!("{REQUEST_HEADERS}{}", self.asked));
        head.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        head.headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_MAX_AGE_S));
        head.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{READ, TestHead};

    fn decorated(origins: &Origins, request_origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        origins.decorate(&mut headers, request_origin.map(str::as_bytes));
        headers
    }

    fn only(origins: &[&'static str]) -> Origins {
        Origins::Only(origins.iter().map(|origin| HeaderValue::from_static(origin)).collect())
    }

    #[test]
    fn any_site_gets_the_same_answer() {
        let headers = decorated(&Origins::Any, Some("https://a.example"));
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(!headers.contains_key(header::VARY));
    }

    #[test]
    fn one_site_needs_no_vary_and_several_do() {
        let one = only(&["https://a.example"]);
        for origin in [None, Some("https://a.example"), Some("https://b.example")] {
            let headers = decorated(&one, origin);
            assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
            assert!(!headers.contains_key(header::VARY));
        }
        let two = only(&["https://a.example", "https://b.example"]);
        assert_eq!(
            decorated(&two, Some("https://b.example"))[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://b.example"
        );
        let stranger = decorated(&two, Some("https://c.example"));
        assert!(!stranger.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert_eq!(stranger[header::VARY], "Origin");
    }

    #[test]
    fn preflights_name_every_header_that_a_client_sends() {
        let head = Options::default().respond().head;
        let allowed =
            head.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_ascii_lowercase();
        // Hosts, lengths and proxies' notes are not a page's to set; the others are read only to be refused.
        let not_by_pages = [
            header::HOST,
            header::CONTENT_LENGTH,
            header::EXPECT,
            header::CONTENT_ENCODING,
            header::CONTENT_RANGE,
            names::FORWARDED,
            names::X_FORWARDED_PROTO,
            names::X_FORWARDED_HOST,
        ];
        let by_pages = READ.into_iter().filter(|name| !not_by_pages.contains(name));
        for name in by_pages.chain([header::AUTHORIZATION]) {
            assert!(allowed.split(", ").any(|allowed| allowed == name.as_str()), "{name}");
        }
    }

    #[test]
    fn preflights_allow_what_was_asked_within_bounds() {
        let long = "x".repeat(3_000);
        for (asked, more) in [
            ("traceparent, X-Tenant-Id", ", traceparent, x-tenant-id"),
            ("content-type,producer-id", ""),
            ("", ""),
            (" , ,x y,\u{e9},a:b,ok", ", ok"),
            (&long, ""),
        ] {
            let asked: &'static str = asked.to_owned().leak();
            let headers = vec![("access-control-request-headers", asked)];
            let head = TestHead { method: "OPTIONS", headers, ..TestHead::default() };
            let allowed = &Options::parse(&head).respond().head.headers[header::ACCESS_CONTROL_ALLOW_HEADERS];
            assert_eq!(allowed.to_str().unwrap(), format!("{REQUEST_HEADERS}{more}"), "{asked}");
        }
    }

    #[test]
    fn pages_may_read_every_header_that_an_answer_has_of_its_own() {
        let exposed = RESPONSE_HEADERS.to_ascii_lowercase();
        for name in [
            header::ETAG,
            header::LOCATION,
            header::RETRY_AFTER,
            names::STREAM_NEXT_OFFSET,
            names::STREAM_CURSOR,
            names::STREAM_UP_TO_DATE,
            names::STREAM_CLOSED,
            names::STREAM_TTL,
            names::STREAM_EXPIRES_AT,
            names::STREAM_SSE_DATA_ENCODING,
            names::PRODUCER_EPOCH,
            names::PRODUCER_SEQ,
            names::PRODUCER_EXPECTED_SEQ,
            names::PRODUCER_RECEIVED_SEQ,
            names::SERVER_TIMING,
            names::X_CACHE,
            names::X_CACHE_HITS,
            names::CACHE_STATUS,
        ] {
            assert!(exposed.split(", ").any(|exposed| exposed == name.as_str()), "{name}");
        }
    }
}
