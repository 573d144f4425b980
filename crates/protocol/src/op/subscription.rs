//! Control requests (sections 6 and 7): the resources below `__ds`, their methods, and the bodies of requests.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::{
    bad_request::BadRequest,
    path::{BasePath, RESERVED_SEGMENT, StreamName, decode, percent_decode},
    precondition::Precondition,
    refusal::Refusal,
    request::{
        forwarded::origin,
        head::{RequestHead, check_content, check_length},
    },
    subscription::{
        CONTROL_BODY_BYTES_MAX, SubscriptionId, SubscriptionRefusal,
        config::{plain_name, read, stream_names},
        token::bearer,
        wake::Fence,
    },
};

/// The longest name of a worker, in bytes.
const WORKER_BYTES_MAX: usize = 256;
/// The most acknowledgements in one request.
const ACKS_MAX: usize = 10_000;

/// A control request whose head was read.
#[derive(Clone, Debug)]
pub enum Control {
    /// GET: read the webhook signing keys.
    Keys,
    /// A request about a subscription, with its conditions.
    Subscription(SubscriptionId, Action, Precondition),
}

/// A request about a subscription.
#[derive(Clone, Debug)]
pub enum Action {
    /// PUT: create it, or confirm that it exists.
    Create {
        /// The stream root as this client reaches it.
        root: Box<str>,
    },
    /// GET: describe it, with a page of its streams.
    Read {
        /// The stream after which the page begins; `None`: the first page.
        after: Option<StreamName>,
    },
    /// DELETE: delete it.
    Delete,
    /// POST to its streams: link streams.
    Link,
    /// DELETE of one of its streams: remove an explicit link.
    Unlink(StreamName),
    /// POST: a worker claims the work.
    Claim,
    /// POST with a bearer token: a worker reports its progress.
    Report(WorkerReport, Box<str>),
}

/// The kind of a worker's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerReport {
    /// A callback of a webhook's worker.
    Callback,
    /// An ack of a worker that has claimed the work.
    Ack,
    /// A release: the worker gives the work back.
    Release,
}

/// The resource at a path below `__ds`.
enum Resource {
    Keys,
    Subscription(SubscriptionId),
    Streams(SubscriptionId),
    Stream(SubscriptionId, StreamName),
    Claim(SubscriptionId),
    Report(SubscriptionId, WorkerReport),
}

impl Control {
    /// Reads a request whose path is reserved; `None` for any other path.
    pub(crate) fn parse(head: &impl RequestHead, base_path: &BasePath) -> Option<Result<Self, Refusal>> {
        let below = head.path().strip_prefix(base_path.as_str())?.strip_prefix('/')?;
        let (first, rest) = below.split_once('/').unwrap_or((below, ""));
        // The segment is decoded first, or a proxy could take a control path for a stream's.
        (decode(first).ok()? == RESERVED_SEGMENT).then(|| Self::parse_resource(head, base_path, rest))
    }

    fn parse_resource(head: &impl RequestHead, base_path: &BasePath, rest: &str) -> Result<Self, Refusal> {
        let resource = Resource::parse(rest)?;
        let method = head.method();
        check_length(head, CONTROL_BODY_BYTES_MAX)?;
        if !resource.methods().contains(&method) {
            return Err(BadRequest::MethodNotAllowed { allowed: resource.methods() }.into());
        }
        // Reads have no body, and a page of them no tag.
        let precondition = if matches!(method, "GET" | "HEAD") {
            Precondition::default()
        } else {
            check_content(head)?;
            Precondition::parse(head)?
        };
        let (id, action) = match (resource, method) {
            (Resource::Keys, "GET" | "HEAD") => return Ok(Self::Keys),
            (Resource::Subscription(id), "PUT") => (id, Action::Create { root: root(head, base_path) }),
            (Resource::Subscription(id), "GET" | "HEAD") => (id, Action::Read { after: after(head)? }),
            (Resource::Subscription(id), "DELETE") => (id, Action::Delete),
            (Resource::Streams(id), "POST") => (id, Action::Link),
            (Resource::Stream(id, name), "DELETE") => (id, Action::Unlink(name)),
            (Resource::Claim(id), "POST") => (id, Action::Claim),
            (Resource::Report(id, report), "POST") => (id, Action::Report(report, bearer(head)?)),
            (resource, _) => {
                return Err(BadRequest::MethodNotAllowed { allowed: resource.methods() }.into());
            }
        };
        Ok(Self::Subscription(id, action, precondition))
    }
}

impl Resource {
    fn parse(rest: &str) -> Result<Self, BadRequest> {
        if rest == "jwks.json" {
            return Ok(Self::Keys);
        }
        let below = rest.strip_prefix("subscriptions/").ok_or(BadRequest::PathUnknown)?;
        let (id, rest) = match below.split_once('/') {
            Some((id, rest)) => (SubscriptionId::parse(id)?, Some(rest)),
            None => (SubscriptionId::parse(below)?, None),
        };
        Ok(match rest {
            None => Self::Subscription(id),
            Some("streams") => Self::Streams(id),
            Some("claim") => Self::Claim(id),
            Some("callback") => Self::Report(id, WorkerReport::Callback),
            Some("ack") => Self::Report(id, WorkerReport::Ack),
            Some("release") => Self::Report(id, WorkerReport::Release),
            Some(rest) => {
                let stream = rest.strip_prefix("streams/").ok_or(BadRequest::PathUnknown)?;
                Self::Stream(id, plain_name(&percent_decode(stream)?)?)
            }
        })
    }

    const fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Keys => &["GET", "HEAD", "OPTIONS"],
            Self::Subscription(_) => &["GET", "HEAD", "PUT", "DELETE", "OPTIONS"],
            Self::Stream(..) => &["DELETE", "OPTIONS"],
            Self::Streams(_) | Self::Claim(_) | Self::Report(..) => &["POST", "OPTIONS"],
        }
    }
}

/// Returns the stream after which the page of a subscription's streams begins (`?after=`).
fn after(head: &impl RequestHead) -> Result<Option<StreamName>, BadRequest> {
    let pairs = form_urlencoded::parse(head.query().unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(key, _)| key == "after").map(|(_, value)| value);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => plain_name(&name).map(Some),
        (Some(_), Some(_)) => Err(BadRequest::ParameterRepeated { parameter: "after" }),
    }
}

/// Returns the stream root as the client reaches it, absolute if the request names a valid host.
fn root(head: &impl RequestHead, base_path: &BasePath) -> Box<str> {
    format!("{}{}", origin(head), base_path.as_str()).into()
}

/// Reads the body of a request that links streams.
///
/// # Errors
/// [`SubscriptionRefusal::Invalid`].
pub fn read_streams(body: &[u8]) -> Result<BTreeSet<StreamName>, SubscriptionRefusal> {
    #[derive(Deserialize)]
    struct Body {
        streams: Vec<String>,
    }
    let Body { streams } = read(body)?;
    if streams.is_empty() {
        return Err(SubscriptionRefusal::invalid("streams must not be empty"));
    }
    stream_names(&streams)
}

/// Reads the body of a claim: the name of the worker.
///
/// # Errors
/// [`SubscriptionRefusal::Invalid`].
pub fn read_worker(body: &[u8]) -> Result<Box<str>, SubscriptionRefusal> {
    #[derive(Deserialize)]
    struct Body {
        worker: Box<str>,
    }
    let Body { worker } = read(body)?;
    if worker.is_empty() || worker.len() > WORKER_BYTES_MAX {
        return Err(SubscriptionRefusal::invalid("worker must have 1 to 256 bytes"));
    }
    Ok(worker)
}

/// The body of a worker's report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The id of the wake.
    pub wake_id: Box<str>,
    /// The generation of the wake.
    pub generation: u64,
    /// The offsets up to which streams are processed.
    pub acks: Vec<(StreamName, Box<str>)>,
    /// Whether the worker has finished.
    pub done: bool,
}

impl Report {
    /// Reads the body of a callback, an ack or a release.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::Invalid`]; [`SubscriptionRefusal::OffsetInvalid`] for a malformed stream name.
    pub fn read(body: &[u8]) -> Result<Self, SubscriptionRefusal> {
        #[derive(Deserialize)]
        struct Body {
            wake_id: Box<str>,
            generation: u64,
            #[serde(default)]
            acks: Vec<Ack>,
            #[serde(default)]
            done: bool,
        }
        #[derive(Deserialize)]
        struct Ack {
            #[serde(alias = "path")]
            stream: Box<str>,
            offset: Box<str>,
        }
        let Body { wake_id, generation, acks, done } = read(body)?;
        if acks.len() > ACKS_MAX {
            return Err(SubscriptionRefusal::LimitReached("acknowledgements in one request"));
        }
        let ack = |Ack { stream, offset }| match plain_name(&stream) {
            Ok(name) => Ok((name, offset)),
            Err(_) => {
                Err(SubscriptionRefusal::OffsetInvalid { stream, rule: "it is not a valid stream name" })
            }
        };
        let acks = acks.into_iter().map(ack).collect::<Result<_, _>>()?;
        Ok(Self { wake_id, generation, acks, done })
    }

    /// Returns the wake that the report names, with the generation of its token.
    #[must_use]
    pub fn fence(&self, token_generation: u64) -> Fence<'_> {
        Fence { token_generation, generation: self.generation, wake_id: &self.wake_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{
        Request,
        tests::{TestHead, parse},
    };

    fn request(method: &'static str, path: &'static str) -> Result<Request, Refusal> {
        parse(&TestHead {
            method,
            path,
            headers: vec![("authorization", "Bearer 1.x")],
            ..TestHead::default()
        })
    }

    fn control(method: &'static str, path: &'static str) -> Control {
        match request(method, path) {
            Ok(Request::Control(control)) => control,
            other => panic!("{method} {path} {other:?}"),
        }
    }

    #[test]
    fn every_resource_has_its_methods() {
        let action = |method, path| match control(method, path) {
            Control::Subscription(id, action, _) => (id.as_str().to_owned(), format!("{action:?}")),
            Control::Keys => (String::new(), "Keys".into()),
        };
        for (method, path, id, expected) in [
            (
                "PUT",
                "/v1/stream/__ds/subscriptions/s%20b",
                "s b",
                "Create { root: \"http://streams.example/v1/stream\" }",
            ),
            ("GET", "/v1/stream/__ds/subscriptions/s", "s", "Read { after: None }"),
            ("HEAD", "/v1/stream/__ds/subscriptions/s", "s", "Read { after: None }"),
            ("DELETE", "/v1/stream/__ds/subscriptions/s", "s", "Delete"),
            ("GET", "/v1/stream/%5F_ds/subscriptions/s", "s", "Read { after: None }"),
            ("POST", "/v1/stream/__ds/subscriptions/s/streams", "s", "Link"),
            ("DELETE", "/v1/stream/__ds/subscriptions/s/streams/a%2Fb", "s", "Unlink(StreamName(\"a/b\"))"),
            (
                "DELETE",
                "/v1/stream/__ds/subscriptions/s/streams/a/b%20c",
                "s",
                "Unlink(StreamName(\"a/b c\"))",
            ),
            ("POST", "/v1/stream/__ds/subscriptions/s/claim", "s", "Claim"),
            ("POST", "/v1/stream/__ds/subscriptions/s/callback", "s", "Report(Callback, \"1.x\")"),
            ("POST", "/v1/stream/__ds/subscriptions/s/ack", "s", "Report(Ack, \"1.x\")"),
            ("POST", "/v1/stream/__ds/subscriptions/s/release", "s", "Report(Release, \"1.x\")"),
            ("GET", "/v1/stream/__ds/jwks.json", "", "Keys"),
        ] {
            assert_eq!(action(method, path), (id.to_owned(), expected.to_owned()), "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/v1/stream/__ds/subscriptions/s"),
            ("GET", "/v1/stream/__ds/subscriptions/s/streams"),
            ("PUT", "/v1/stream/__ds/jwks.json"),
            ("GET", "/v1/stream/__ds/subscriptions/s/claim"),
            ("PATCH", "/v1/stream/__ds/subscriptions/s"),
        ] {
            assert!(
                matches!(request(method, path), Err(Refusal::Request(BadRequest::MethodNotAllowed { .. }))),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn other_reserved_paths_are_nothing() {
        for path in [
            "/v1/stream/__ds",
            "/v1/stream/__ds/",
            "/v1/stream/__ds/x",
            "/v1/stream/__ds/subscriptions",
            "/v1/stream/__ds/schedules/x",
            "/v1/stream/__ds/subscriptions/s/other",
            "/v1/stream/__ds/subscriptions/s/claim/x",
        ] {
            assert_eq!(request("GET", path).err(), Some(BadRequest::PathUnknown.into()), "{path}");
        }
        for path in [
            "/v1/stream/__ds/subscriptions/",
            "/v1/stream/__ds/subscriptions/a%2Fb",
            "/v1/stream/__ds/subscriptions/s/streams/..",
        ] {
            assert!(
                matches!(request("DELETE", path), Err(Refusal::Request(BadRequest::NameMalformed { .. }))),
                "{path}"
            );
        }
    }

    #[test]
    fn a_worker_needs_a_token_except_for_the_claim() {
        for (action, needs) in [("callback", true), ("ack", true), ("release", true), ("claim", false)] {
            let path: &'static str =
                Box::leak(format!("/v1/stream/__ds/subscriptions/s/{action}").into_boxed_str());
            let refused = parse(&TestHead { method: "POST", path, ..TestHead::default() }).err();
            assert_eq!(
                refused,
                needs.then_some(Refusal::Subscription(SubscriptionRefusal::TokenInvalid)),
                "{action}"
            );
        }
    }

    #[test]
    fn bodies_are_read_strictly() {
        let report = Report::read(br#"{"wake_id":"w","generation":7,"acks":[{"stream":"/a/","offset":"1"},{"path":"b","offset":"2"}],"done":true}"#);
        let acks =
            vec![(StreamName::new("a").unwrap(), "1".into()), (StreamName::new("b").unwrap(), "2".into())];
        assert_eq!(report, Ok(Report { wake_id: "w".into(), generation: 7, acks, done: true }));
        assert!(!Report::read(br#"{"wake_id":"w","generation":7}"#).unwrap().done);
        for body in [
            "",
            "{}",
            "[]",
            r#"{"wake_id":7,"generation":7}"#,
            r#"{"wake_id":"w","generation":"7"}"#,
            r#"{"wake_id":"w","generation":7,"acks":{}}"#,
        ] {
            assert!(matches!(Report::read(body.as_bytes()), Err(SubscriptionRefusal::Invalid(_))), "{body}");
        }
        assert_eq!(read_worker(br#"{"worker":"w1"}"#), Ok("w1".into()));
        assert_eq!(read_streams(br#"{"streams":["a","/a"]}"#).unwrap().len(), 1);
        for body in [r#"{"streams":[]}"#, "{}", r#"{"streams":[""]}"#, r#"{"streams":"a"}"#] {
            assert!(read_streams(body.as_bytes()).is_err(), "{body}");
        }
        for body in ["{}", r#"{"worker":""}"#, r#"{"worker":1}"#] {
            assert!(read_worker(body.as_bytes()).is_err(), "{body}");
        }
    }
}
