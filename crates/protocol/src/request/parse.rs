//! From a request's head to a verb with its parameters.

#[cfg(feature = "subscriptions")]
use crate::op::subscription::Control;
use crate::{
    bad_request::BadRequest,
    cross_origin::Options,
    op::{append::Append, create::Create, delete::Delete, head::Head, read::Read},
    path::StreamName,
    refusal::Refusal,
    request::head::{ParseContext, RequestHead, check_host, check_transfer_coding},
};

/// A request whose head was read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Request {
    /// PUT: create a stream, or a fork.
    Create(Create),
    /// POST: append, close, or both.
    Append(Append),
    /// GET: read.
    Read(Read),
    /// HEAD: describe a stream.
    Head(Head),
    /// DELETE: delete a stream.
    Delete(Delete),
    /// OPTIONS: what browsers ask first.
    Options(Options),
    /// A request to a path below the reserved prefix (section 6).
    #[cfg(feature = "subscriptions")]
    Control(Control),
}

impl Request {
    /// Reads a request's head. Everything that can be known of the body is checked before the body is received.
    ///
    /// ```
    /// use headwater_protocol::{BasePath, ParseContext, Request};
    ///
    /// let base_path = BasePath::parse("/v1/stream").ok_or("a base path")?;
    /// let context = ParseContext { base_path: &base_path, body_bytes_max: 1 << 20, now_ms: 0 };
    /// let request = http::Request::get("/v1/stream/rooms/42?offset=-1").header("host", "localhost");
    /// let (head, ()) = request.body(())?.into_parts();
    /// let Request::Read(read) = Request::parse(&head, &context)? else { return Err("a GET is a read".into()) };
    /// assert_eq!(read.name.as_str(), "rooms/42");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Refusal::Request`] for everything that is wrong with the head.
    pub fn parse(head: &impl RequestHead, context: &ParseContext<'_>) -> Result<Self, Refusal> {
        check_host(head)?;
        check_transfer_coding(head)?;
        #[cfg(feature = "subscriptions")]
        if head.method() != "OPTIONS"
            && let Some(control) = Control::parse(head, context.base_path)
        {
            return control.map(Self::Control);
        }
        let name = context.base_path.stream(head.path());
        Ok(match head.method() {
            "GET" => Self::Read(Read::parse(head, name?)?),
            "POST" => Self::Append(Append::parse(head, name?, context)?),
            "PUT" => Self::Create(Create::parse(head, name?, context)?),
            "HEAD" => Self::Head(Head { name: name? }),
            "DELETE" => Self::Delete(Delete::parse(head, name?)?),
            "OPTIONS" => Self::Options(Options::parse(head)),
            _ => return Err(BadRequest::MethodNotAllowed { allowed: &METHODS }.into()),
        })
    }

    /// Returns the name of the stream that the request is about, if it is about one.
    #[must_use]
    pub const fn stream(&self) -> Option<&StreamName> {
        match self {
            Self::Create(create) => Some(&create.name),
            Self::Append(append) => Some(&append.name),
            Self::Read(read) => Some(&read.name),
            Self::Head(head) => Some(&head.name),
            Self::Delete(delete) => Some(&delete.name),
            Self::Options(_) => None,
            #[cfg(feature = "subscriptions")]
            Self::Control(_) => None,
        }
    }
}

/// Refuses a request that is none of a liveness probe or of a collector of metrics.
///
/// # Errors
/// A [`BadRequest`] for a request without a host, or with another method than GET and HEAD.
pub fn check_probe(head: &impl RequestHead) -> Result<(), BadRequest> {
    check_host(head)?;
    match head.method() {
        "GET" | "HEAD" => Ok(()),
        _ => Err(BadRequest::MethodNotAllowed { allowed: &["GET", "HEAD"] }),
    }
}

/// The methods that a stream supports.
pub const METHODS: [&str; 6] = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"];

/// Returns a method of [`METHODS`] by its name; `other` for any other.
#[must_use]
pub fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use http::{HeaderName, Version, header};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        names,
        op::create::Decision,
        path::BasePath,
        request::head::says_closed,
        stream::{Verdict, tests::head},
    };

    /// A request as tests write it.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct TestHead {
        pub(crate) method: &'static str,
        pub(crate) path: &'static str,
        pub(crate) query: Option<&'static str>,
        pub(crate) headers: Vec<(&'static str, &'static str)>,
        pub(crate) scheme: Option<&'static str>,
        pub(crate) is_from_trusted_proxy: bool,
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
        fn scheme(&self) -> Option<&str> {
            self.scheme
        }
        fn version(&self) -> Version {
            Version::HTTP_2
        }
        fn is_from_trusted_proxy(&self) -> bool {
            self.is_from_trusted_proxy
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
        assert!(matches!(parsed("OPTIONS"), Ok(Request::Options(_))));
        for method in ["PATCH", "get", "TRACE", "CONNECT", ""] {
            assert!(
                matches!(parsed(method), Err(Refusal::Request(BadRequest::MethodNotAllowed { .. }))),
                "{method}"
            );
        }
    }

    #[test]
    fn every_method_of_a_stream_is_known() {
        assert!(METHODS.into_iter().all(|method| known_method(method) == method));
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
            let expected = (!is_fine).then_some(Refusal::Request(BadRequest::HostInvalid));
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
            assert_eq!(sized("1001"), Some(BadRequest::BodyTooLarge { limit_bytes: 1_000 }.into()));
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
        pub(crate) is_from_trusted_proxy: bool,
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
        fn is_from_trusted_proxy(&self) -> bool {
            self.is_from_trusted_proxy
        }
        fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
            let name = name.clone();
            self.headers.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value.as_slice())
        }
    }

    /// Every header that a request is read for.
    pub(crate) const READ: [HeaderName; 25] = [
        header::HOST,
        header::AUTHORIZATION,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::EXPECT,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        names::LAST_EVENT_ID,
        names::STREAM_TTL,
        names::STREAM_EXPIRES_AT,
        names::STREAM_SEQ,
        names::STREAM_EXPECTED_OFFSET,
        names::STREAM_CLOSED,
        names::STREAM_VISIBILITY,
        names::STREAM_FORKED_FROM,
        names::STREAM_FORK_OFFSET,
        names::STREAM_FORK_SUB_OFFSET,
        names::PRODUCER_ID,
        names::PRODUCER_EPOCH,
        names::PRODUCER_SEQ,
        names::FORWARDED,
        names::X_FORWARDED_PROTO,
        names::X_FORWARDED_HOST,
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
                is_from_trusted_proxy: true,
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
                let response = refusal.respond();
                prop_assert!(response.head.status.is_client_error(), "{:?}", refusal);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&response.body).is_ok());
            }
        }
    }

    /// Handles a request to an existing stream, and returns its refusal if it is refused.
    fn handled(request: &Request, body: Bytes) -> Option<Refusal> {
        let stream = head(1);
        let outcome = match request {
            Request::Create(create) => {
                let payload = create.prepare(body, None);
                let decision = create.decide(&payload, None, stream.incarnation, 5_000);
                decision.map(|decision| match decision {
                    Decision::Create(creation) => create.respond(&creation.ack),
                    Decision::Prepare(content_type) => panic!("nothing inherits {content_type}"),
                })
            }
            Request::Append(append) => append.prepare(body).map_err(Refusal::from).and_then(|payload| {
                match append.decide(Some(&stream), None, payload, 5_000) {
                    Verdict::Refuse(refusal) => Err(refusal),
                    Verdict::Commit(_, ack) | Verdict::Repeat(ack) => Ok(append.respond(&ack)),
                }
            }),
            Request::Read(read) => return stream.position(read.from).err(),
            _ => return None,
        };
        outcome.map(|response| assert!(response.head.status.is_success())).err()
    }
}
