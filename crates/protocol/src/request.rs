//! Request heads: what is read of them, and how the five verbs are told apart.

use http::{HeaderName, HeaderValue, Version, header, request::Parts, uri::Authority};

use crate::{
    Refusal, cross_origin, names,
    op::{append::Append, create::Create, delete::Delete, head::Head, read::Read, subscription::Control},
    path::BasePath,
};

/// What the rules need to see of a request. Each adapter implements it on its framework's own type, so that
/// nothing is copied on the way in.
pub trait RequestHead {
    /// The method, such as `GET`.
    fn method(&self) -> &str;
    /// The path, still percent-encoded.
    fn path(&self) -> &str;
    /// What follows the question mark.
    fn query(&self) -> Option<&str>;
    /// The host that the client asked, if it said so.
    fn authority(&self) -> Option<&str>;
    /// The version of HTTP that the client speaks: it decides how a host is named.
    fn version(&self) -> Version;
    /// The values of a header, one for each line.
    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, Self>;
}

impl RequestHead for Parts {
    fn method(&self) -> &str {
        self.method.as_str()
    }

    fn path(&self) -> &str {
        self.uri.path()
    }

    fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// The authority of the request's target, or what its Host header says.
    fn authority(&self) -> Option<&str> {
        let host = || self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        self.uri.authority().map(Authority::as_str).or_else(host)
    }

    fn version(&self) -> Version {
        self.version
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// PUT.
    Create(Create),
    /// POST.
    Append(Append),
    /// GET.
    Read(Read),
    /// HEAD.
    Head(Head),
    /// DELETE.
    Delete(Delete),
    /// OPTIONS.
    Options,
    /// Anything below the reserved prefix (section 6).
    Control(Control),
}

/// What parsing depends on besides the request.
#[derive(Clone, Debug)]
pub struct ParseContext<'a> {
    /// Where streams live.
    pub base_path: &'a BasePath,
    /// The largest body, in bytes.
    pub body_bytes_max: u64,
    /// Now, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Request {
    /// Reads a request's head. What it says of the body is checked before the body is read.
    ///
    /// # Errors
    /// A [`Refusal`] for everything that is wrong with the head alone.
    pub fn parse(head: &impl RequestHead, context: &ParseContext<'_>) -> Result<Self, Refusal> {
        check_host(head)?;
        if head.method() != "OPTIONS"
            && let Some(control) = Control::parse(head, context.base_path)
        {
            return control.map(Self::Control);
        }
        let name = context.base_path.stream(head.path());
        match head.method() {
            "GET" => Read::parse(head, name?).map(Self::Read),
            "POST" => Append::parse(head, name?, context).map(Self::Append),
            "PUT" => Create::parse(head, name?, context).map(Self::Create),
            "HEAD" => Ok(Self::Head(Head { name: name? })),
            "DELETE" => Ok(Self::Delete(Delete { name: name? })),
            "OPTIONS" => Ok(Self::Options),
            _ => Err(Refusal::MethodUnknown { allowed: cross_origin::METHODS }),
        }
    }
}

/// Refuses what a liveness probe doesn't ask.
///
/// # Errors
/// A [`Refusal`] for a request without a host, or with another verb than GET and HEAD.
pub fn check_probe(head: &impl RequestHead) -> Result<(), Refusal> {
    check_host(head)?;
    match head.method() {
        "GET" | "HEAD" => Ok(()),
        _ => Err(Refusal::MethodUnknown { allowed: "GET, HEAD" }),
    }
}

/// Refuses a request that doesn't name one host (RFC 9112, 3.2). HTTP/1.0 needn't, HTTP/2 may do it otherwise.
fn check_host(head: &impl RequestHead) -> Result<(), Refusal> {
    let is_mark = |byte: u8| {
        matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'..=b',' | b';' | b'=' | b':' | b'[' | b']'
        )
    };
    let is_host = |&byte: &u8| byte.is_ascii_alphanumeric() || is_mark(byte);
    let mut hosts = head.header(&header::HOST);
    let is_named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.iter().all(is_host),
        (None, _) if head.version() <= Version::HTTP_10 => true,
        (None, _) => head.version() != Version::HTTP_11 && head.authority().is_some(),
        (Some(_), Some(_)) => false,
    };
    if is_named { Ok(()) } else { Err(Refusal::HostMissing) }
}

/// The origin as the client reaches it, such as `https://streams.example`; empty if it doesn't say enough for that.
pub(crate) fn origin(head: &impl RequestHead) -> String {
    let https = head.header(&names::X_FORWARDED_PROTO).next().is_some_and(|proto| proto == b"https");
    let scheme = if https { "https" } else { "http" };
    let authority = head.authority().filter(|authority| authority.parse::<Authority>().is_ok());
    authority.map_or(String::new(), |authority| format!("{scheme}://{authority}"))
}

/// The only value of a header, as text; `None` if it isn't there.
pub(crate) fn single<'a>(head: &'a impl RequestHead, name: &HeaderName) -> Result<Option<&'a str>, Refusal> {
    let mut values = head.header(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Refusal::HeaderNotText { header: name.clone() }),
        },
        (Some(_), Some(_)) => Err(Refusal::HeaderRepeated { header: name.clone() }),
    }
}

/// Whether `Stream-Closed` says `true`. Any other value counts as absent (section 4.1).
pub(crate) fn says_closed(head: &impl RequestHead) -> Result<bool, Refusal> {
    let mut values = head.header(&names::STREAM_CLOSED);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refusal::HeaderRepeated { header: names::STREAM_CLOSED }),
        (value, None) => Ok(value.is_some_and(|value| value.eq_ignore_ascii_case(b"true"))),
    }
}

/// Refuses a body that is too large by its own word. One without a length is bounded while it is read.
pub(crate) fn check_length(head: &impl RequestHead, limit_bytes: u64) -> Result<(), Refusal> {
    let declared = single(head, &header::CONTENT_LENGTH)?;
    let too_large = declared.and_then(|text| text.parse().ok()).is_some_and(|bytes: u64| bytes > limit_bytes);
    if too_large { Err(Refusal::BodyTooLarge { limit_bytes }) } else { Ok(()) }
}

/// The methods of a stream.
pub const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"];

/// A method by its name, if it is one of [`METHODS`]; `other` for those that clients make up.
#[must_use]
pub fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::stream::{Verdict, tests::head};

    /// A request as tests write it.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct TestHead {
        pub(crate) method: &'static str,
        pub(crate) path: &'static str,
        pub(crate) query: Option<&'static str>,
        pub(crate) headers: Vec<(&'static str, &'static str)>,
    }

    impl RequestHead for TestHead {
        fn method(&self) -> &str {
            self.method
        }
        fn path(&self) -> &str {
            self.path
        }
        fn query(&self) -> Option<&str> {
            self.query
        }
        fn authority(&self) -> Option<&str> {
            Some("streams.example")
        }
        fn version(&self) -> Version {
            Version::HTTP_2
        }
        fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
            let name = name.clone();
            let named = move |(key, _): &&(&str, &str)| name == *key;
            self.headers.iter().filter(named).map(|(_, value)| value.as_bytes())
        }
    }

    pub(crate) fn parse(head: &impl RequestHead) -> Result<Request, Refusal> {
        let base_path = BasePath::parse("/v1/stream").unwrap();
        Request::parse(head, &ParseContext { base_path: &base_path, body_bytes_max: 1_000, now_ms: 5_000 })
    }

    /// A request to the stream `a` with these headers, read.
    pub(crate) fn parse_with(
        method: &'static str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<Request, Refusal> {
        let headers = headers.to_vec();
        parse(&TestHead { method, path: "/v1/stream/a", headers, ..TestHead::default() })
    }

    #[test]
    fn verbs_are_told_apart_by_method() {
        let parsed = |method| parse_with(method, &[]);
        assert!(matches!(parsed("GET"), Ok(Request::Read(_))));
        assert!(matches!(parsed("PUT"), Ok(Request::Create(_))));
        assert!(matches!(parsed("POST"), Ok(Request::Append(_))));
        assert!(matches!(parsed("HEAD"), Ok(Request::Head(_))));
        assert!(matches!(parsed("DELETE"), Ok(Request::Delete(_))));
        assert!(matches!(parsed("OPTIONS"), Ok(Request::Options)));
        for method in ["PATCH", "get", "TRACE", "CONNECT", ""] {
            assert!(matches!(parsed(method), Err(Refusal::MethodUnknown { .. })), "{method}");
        }
    }

    #[test]
    fn every_method_of_a_stream_is_known() {
        assert!(cross_origin::METHODS.split(", ").all(|method| known_method(method) == method));
        assert_eq!(known_method("BREW"), "other");
    }

    #[test]
    fn a_host_is_named_once_and_in_the_way_of_its_version() {
        let cases: [(Version, Option<&str>, &[&str], bool); 13] = [
            (Version::HTTP_11, None, &["a.example"], true),
            (Version::HTTP_11, None, &["[::1]:4437"], true),
            (Version::HTTP_11, None, &[""], true),
            (Version::HTTP_11, None, &[], false),
            (Version::HTTP_11, Some("a.example"), &[], false),
            (Version::HTTP_11, None, &["a.example", "a.example"], false),
            (Version::HTTP_11, None, &["bad host"], false),
            (Version::HTTP_11, None, &["user@a.example"], false),
            (Version::HTTP_11, None, &["a.example/b"], false),
            (Version::HTTP_10, None, &[], true),
            (Version::HTTP_10, None, &["a", "b"], false),
            (Version::HTTP_2, Some("a.example"), &[], true),
            (Version::HTTP_2, None, &[], false),
        ];
        for (version, authority, hosts, is_fine) in cases {
            let head = AnyHead {
                method: "GET".to_owned(),
                path: "/v1/stream/a".to_owned(),
                authority: authority.map(str::to_owned),
                headers: hosts.iter().map(|host| (header::HOST, host.as_bytes().to_vec())).collect(),
                version: Some(version),
                ..AnyHead::default()
            };
            let refusal = parse(&head).err();
            let expected = (!is_fine).then_some(Refusal::HostMissing);
            assert_eq!(refusal, expected, "{version:?} {authority:?} {hosts:?}");
        }
    }

    #[test]
    fn a_body_too_large_by_its_own_word_is_refused_at_the_head() {
        for method in ["PUT", "POST"] {
            let sized = |length| {
                parse_with(method, &[("content-length", length), ("content-type", "text/plain")]).err()
            };
            assert_eq!(sized("1000"), None);
            assert_eq!(sized("1001"), Some(Refusal::BodyTooLarge { limit_bytes: 1_000 }));
        }
    }

    #[test]
    fn only_true_is_true() {
        let closed = |value| {
            let head = TestHead { headers: vec![("stream-closed", value)], ..TestHead::default() };
            says_closed(&head) == Ok(true)
        };
        assert!(["true", "TRUE", "True"].into_iter().all(closed));
        assert!(!["false", "yes", "1", "", "true ", "true, true", "trueish"].into_iter().any(closed));
    }

    /// A request as a hostile client and a lenient transport could make it.
    #[derive(Debug, Default)]
    pub(crate) struct AnyHead {
        pub(crate) method: String,
        pub(crate) path: String,
        pub(crate) query: Option<String>,
        pub(crate) authority: Option<String>,
        pub(crate) headers: Vec<(HeaderName, Vec<u8>)>,
        pub(crate) version: Option<Version>,
    }

    impl RequestHead for AnyHead {
        fn method(&self) -> &str {
            &self.method
        }
        fn path(&self) -> &str {
            &self.path
        }
        fn query(&self) -> Option<&str> {
            self.query.as_deref()
        }
        fn authority(&self) -> Option<&str> {
            self.authority.as_deref()
        }
        fn version(&self) -> Version {
            self.version.unwrap_or(Version::HTTP_10)
        }
        fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
            let name = name.clone();
            self.headers.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_slice())
        }
    }

    /// Every header that a request is read for.
    pub(crate) const READ: [HeaderName; 18] = [
        header::HOST,
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::IF_NONE_MATCH,
        names::LAST_EVENT_ID,
        names::STREAM_TTL,
        names::STREAM_EXPIRES_AT,
        names::STREAM_SEQ,
        names::STREAM_CLOSED,
        names::STREAM_VISIBILITY,
        names::STREAM_FORKED_FROM,
        names::STREAM_FORK_OFFSET,
        names::STREAM_FORK_SUB_OFFSET,
        names::PRODUCER_ID,
        names::PRODUCER_EPOCH,
        names::PRODUCER_SEQ,
        names::X_FORWARDED_PROTO,
    ];

    fn any_head() -> impl Strategy<Value = AnyHead> {
        let method = prop_oneof![
            4 => prop::sample::select(vec!["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS"]).prop_map(str::to_owned),
            1 => any::<String>(),
        ];
        let path =
            prop_oneof![3 => ".{0,20}".prop_map(|name| format!("/v1/stream/{name}")), 1 => any::<String>()];
        let parameter = ("offset|live|cursor|.{0,6}", "-1|now|sse|long-poll|[0-9]{16}_[0-9]{16}|.{0,20}");
        let query = prop_oneof![
            3 => prop::collection::vec(parameter.prop_map(|(key, value)| format!("{key}={value}")), 0..4)
                .prop_map(|parameters| parameters.join("&")),
            1 => any::<String>(),
        ];
        let value = prop_oneof![
            "[0-9]{1,20}|true|public|text/plain|application/json|/v1/stream/.{1,9}|[0-9]{16}_[0-9]{16}"
                .prop_map(String::into_bytes),
            any::<Vec<u8>>(),
        ];
        let headers = prop::collection::vec((prop::sample::select(READ.to_vec()), value), 0..6);
        (method, path, prop::option::of(query), any::<Option<String>>(), headers).prop_map(
            |(method, path, query, authority, headers)| AnyHead {
                method,
                path,
                query,
                authority,
                headers,
                version: None,
            },
        )
    }

    proptest! {
        #[test]
        fn no_request_panics_and_every_refusal_is_a_document(head in any_head(), body: Vec<u8>) {
            let refusal = match parse(&head) {
                Ok(request) => handled(&request, Bytes::from(body)),
                Err(refusal) => Some(refusal),
            };
            if let Some(refusal) = refusal {
                let (answer, document) = refusal.respond();
                prop_assert!(answer.status.is_client_error(), "{:?}", refusal);
                prop_assert!(serde_json::from_str::<serde_json::Value>(&document).is_ok());
            }
        }
    }

    /// What becomes of a request to a stream that is there: what it is refused with, if it is.
    fn handled(request: &Request, body: Bytes) -> Option<Refusal> {
        let stream = head(1);
        let refused = |outcome: Result<(), Refusal>| outcome.err();
        match request {
            Request::Create(create) => {
                let creation = create.decide(body, None, stream.incarnation, 5_000);
                refused(creation.map(|creation| assert!(create.respond(&creation.ack).status.is_success())))
            }
            Request::Append(append) => {
                refused(append.prepare(body).and_then(|payload| {
                    match append.decide(Some(&stream), None, payload, 5_000) {
                        Verdict::Refuse(refusal) => Err(refusal),
                        Verdict::Commit(_, ack) | Verdict::Repeat(ack) => {
                            assert!(append.respond(&ack).status.is_success());
                            Ok(())
                        }
                    }
                }))
            }
            Request::Read(read) => stream.position(read.from).err(),
            Request::Head(_) | Request::Delete(_) | Request::Options | Request::Control(_) => None,
        }
    }
}
