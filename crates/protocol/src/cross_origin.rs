//! Headers with which browsers use a stream from another site, safely (Fetch Standard; section 12.7).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::{
    names,
    request::METHODS,
    response::{Response, ResponseHead, text_value},
};

/// The header that names the site of the page that asks.
pub const ORIGIN: HeaderName = header::ORIGIN;
/// The headers that pages may send, one by one: a `*` doesn't cover Authorization.
pub const REQUEST_HEADERS: &str = "Authorization, Content-Type, If-None-Match, Last-Event-ID, Cache-Control, \
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

/// Returns the response to OPTIONS, preflight or not.
#[must_use]
pub fn respond_to_options() -> Response {
    let methods = text_value(&METHODS.join(", "));
    let mut head = ResponseHead::new(StatusCode::NO_CONTENT);
    head.headers.insert(header::ALLOW, methods.clone());
    head.headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    head.headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(REQUEST_HEADERS));
    head.headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(PREFLIGHT_MAX_AGE_S));
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::READ;

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
        let head = respond_to_options().head;
        let allowed =
            head.headers[header::ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_ascii_lowercase();
        // Hosts, lengths and proxies' notes are not a page's to set.
        let not_by_pages = [header::HOST, header::CONTENT_LENGTH, names::X_FORWARDED_PROTO];
        let by_pages = READ.into_iter().filter(|name| !not_by_pages.contains(name));
        for name in by_pages.chain([header::AUTHORIZATION]) {
            assert!(allowed.split(", ").any(|allowed| allowed == name.as_str()), "{name}");
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
