//! Request heads: what the rules read of them, whatever transport they come from.

use http::{HeaderName, HeaderValue, Version, header, request::Parts, uri::Authority};

use super::forwarded::FromTrustedProxy;
use crate::{bad_request::BadRequest, names, path::BasePath};

/// The parts of a request that the rules look at.
///
/// It is implemented for [`http::request::Parts`]. An adapter implements it on another type of its framework, so that
/// nothing is copied on the way in.
pub trait RequestHead {
    /// Returns the method, such as `GET`.
    fn method(&self) -> &str;
    /// Returns the path, still percent-encoded.
    fn path(&self) -> &str;
    /// Returns the query, without its question mark.
    fn query(&self) -> Option<&str>;
    /// Returns the host, and the port if there is one, that the client has asked.
    fn authority(&self) -> Option<&str>;
    /// Returns the scheme of the request's target: `:scheme` on HTTP/2, none on most requests of HTTP/1.1.
    fn scheme(&self) -> Option<&str> {
        None
    }
    /// Returns the version of HTTP, which decides how a host is named.
    fn version(&self) -> Version;
    /// Returns whether the request comes from a proxy that may say how clients reach it, by `Forwarded`,
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`.
    fn is_from_trusted_proxy(&self) -> bool {
        false
    }
    /// Returns the values of a header, one for each line.
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

    /// Returns the authority of the request's target, or the Host header if it has none.
    fn authority(&self) -> Option<&str> {
        let host = || self.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        self.uri.authority().map(Authority::as_str).or_else(host)
    }

    fn scheme(&self) -> Option<&str> {
        self.uri.scheme_str()
    }

    fn version(&self) -> Version {
        self.version
    }

    /// Returns whether there is a [`FromTrustedProxy`] among the extensions.
    fn is_from_trusted_proxy(&self) -> bool {
        self.extensions.get::<FromTrustedProxy>().is_some()
    }

    fn header<'a>(&'a self, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.headers.get_all(name).iter().map(HeaderValue::as_bytes)
    }
}

/// The values that parsing depends on besides the request.
#[derive(Clone, Debug)]
pub struct ParseContext<'a> {
    /// The path below which all streams are.
    pub base_path: &'a BasePath,
    /// The largest body that is accepted, in bytes.
    pub body_bytes_max: u64,
    /// The current time, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Refuses a request that doesn't name exactly one host (RFC 9112, 3.2). HTTP/1.0 may leave it out, HTTP/2 has it in
/// `:authority`.
pub(crate) fn check_host(head: &impl RequestHead) -> Result<(), BadRequest> {
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
    if is_named { Ok(()) } else { Err(BadRequest::HostInvalid) }
}

/// Returns the only value of a header, as text; `None` if the header is absent.
pub(crate) fn single<'a>(
    head: &'a impl RequestHead,
    name: &HeaderName,
) -> Result<Option<&'a str>, BadRequest> {
    let mut values = head.header(name);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match std::str::from_utf8(value) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(BadRequest::HeaderNotText { header: name.clone() }),
        },
        (Some(_), Some(_)) => Err(BadRequest::HeaderRepeated { header: name.clone() }),
    }
}

/// Returns whether `Stream-Closed` is `true`. Any other value counts as absent (section 4.1).
pub(crate) fn says_closed(head: &impl RequestHead) -> Result<bool, BadRequest> {
    let mut values = head.header(&names::STREAM_CLOSED);
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(BadRequest::HeaderRepeated { header: names::STREAM_CLOSED }),
        (value, None) => Ok(value.is_some_and(|value| value.eq_ignore_ascii_case(b"true"))),
    }
}

/// Refuses a body with a transfer coding that isn't `chunked`, or with several: no framework decodes another one, and the
/// bytes would be stored encoded (RFC 9112, 6.1).
pub(crate) fn check_transfer_coding(head: &impl RequestHead) -> Result<(), BadRequest> {
    let mut codings = head.header(&header::TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(BadRequest::TransferCodingUnsupported),
    }
}

/// Refuses what would give a body another meaning than its bytes: a content coding, or a range; and an expectation other
/// than `100-continue`.
pub(crate) fn check_content(head: &impl RequestHead) -> Result<(), BadRequest> {
    let members =
        |name| head.header(name).flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    let is_other =
        |known: &'static [u8]| move |member: &[u8]| !member.is_empty() && !member.eq_ignore_ascii_case(known);
    if members(&header::CONTENT_ENCODING).any(is_other(b"identity")) {
        return Err(BadRequest::ContentCodingUnsupported);
    }
    if head.header(&header::CONTENT_RANGE).next().is_some() {
        return Err(BadRequest::ContentRangeUnsupported);
    }
    if members(&header::EXPECT).any(is_other(b"100-continue")) {
        return Err(BadRequest::ExpectationUnsupported);
    }
    Ok(())
}

/// Returns the declared length of a body, in bytes; `None` if it has none, or if a transfer coding tells where it ends.
#[must_use]
pub fn declared_length(head: &impl RequestHead) -> Option<u64> {
    if head.header(&header::TRANSFER_ENCODING).next().is_some() {
        return None;
    }
    single(head, &header::CONTENT_LENGTH).ok()??.trim().parse().ok()
}

/// Refuses a body whose declared length is too large. A body without a length is bounded while it is received.
pub(crate) fn check_length(head: &impl RequestHead, limit_bytes: u64) -> Result<(), BadRequest> {
    let declared = single(head, &header::CONTENT_LENGTH)?;
    let too_large = declared.and_then(|text| text.parse().ok()).is_some_and(|bytes: u64| bytes > limit_bytes);
    if too_large { Err(BadRequest::BodyTooLarge { limit_bytes }) } else { Ok(()) }
}
