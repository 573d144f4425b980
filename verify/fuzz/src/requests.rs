//! Request heads.

use headwater_protocol::{BasePath, ParseContext, Request, RequestHead, request::declared_length};
use http::{HeaderName, Version};

/// A head whose parts are any texts.
struct AnyHead<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    headers: Vec<(HeaderName, &'a [u8])>,
}

impl<'h> RequestHead for AnyHead<'h> {
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

    fn is_from_trusted_proxy(&self) -> bool {
        true
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'h> {
        let name = name.clone();
        self.headers.iter().filter(move |(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// Parses a head: lines of a method, a target and headers. A refusal is a response with a document.
///
/// # Panics
/// If a property is violated.
pub fn request(data: &[u8]) {
    let mut lines = data.split(|&byte| byte == b'\n');
    let mut text = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (method, target) = (text(), text());
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let headers = lines.filter_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (name, value) = line.split_at(colon);
        Some((HeaderName::from_bytes(name).ok()?, value.get(1..)?))
    });
    let path = format!("/v1/stream/{path}");
    let head = AnyHead { method, path: &path, query, headers: headers.collect() };
    let base_path = BasePath::parse("/v1/stream").expect("a base path");
    let context = ParseContext { base_path: &base_path, body_bytes_max: 1 << 20, now_ms: 1_800_000_000_000 };
    let _declared = declared_length(&head);
    if let Err(refusal) = Request::parse(&head, &context) {
        let response = refusal.respond();
        assert!(response.head.status.as_u16() >= 400);
        let document: serde_json::Value = serde_json::from_slice(&response.body).expect("a document");
        assert!(document.is_object());
    }
}
