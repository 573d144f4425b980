//! PUT: create a stream, or a fork of one, or make sure that it exists (sections 5.1 and 4.2).

use std::fmt::Write as _;

use bytes::Bytes;
use http::{StatusCode, header};

use crate::{
    Refusal,
    cache::Visibility,
    content_type::ContentType,
    expiry::{Lifetime, strict_decimal},
    fork::ForkRequest,
    json, names,
    offset::{Incarnation, Offset, ReadFrom},
    path::StreamName,
    request::{ParseContext, RequestHead, check_length, origin, says_closed, single},
    response::{ResponseHead, offset_value, text_value},
    stream::{Change, Closure, StreamHead},
};

/// A PUT, before its body.
#[derive(Clone, Debug)]
pub struct Create {
    /// The stream.
    pub name: StreamName,
    /// The stream to fork from, if any.
    pub fork: Option<ForkRequest>,
    location: String,
    content_type: Option<ContentType>,
    lifetime: Option<Lifetime>,
    visibility: Option<Visibility>,
    closed: bool,
}

/// What a PUT came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    next: Offset,
    content_type: ContentType,
    closed: bool,
    fresh: bool,
}

/// What stands where a stream is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// Nothing: create.
    Free,
    /// A stream that is over: remove it in the same commit.
    Expired,
    /// What was asked for: answer once that is durable.
    Same(Created),
}

/// Where a fork begins.
#[derive(Clone, Copy, Debug)]
pub struct ForkPoint<'a> {
    /// The source as it is.
    pub source: &'a StreamHead,
    /// The position in it: the anchor and the bytes of the sub-offset.
    pub position: u64,
}

/// All that a creation alters.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The new stream.
    pub change: Change,
    /// The fork's source, counting one more fork.
    pub source: Option<StreamHead>,
    /// The answer.
    pub ack: Created,
}

impl Create {
    pub(crate) fn parse(
        head: &impl RequestHead,
        name: StreamName,
        context: &ParseContext<'_>,
    ) -> Result<Self, Refusal> {
        check_length(head, context.body_bytes_max)?;
        let content_type = single(head, &header::CONTENT_TYPE)?;
        let visibility = single(head, &names::STREAM_VISIBILITY)?;
        Ok(Self {
            name,
            location: location(head),
            content_type: content_type.map(ContentType::parse).transpose()?,
            lifetime: Lifetime::parse(
                single(head, &names::STREAM_TTL)?,
                single(head, &names::STREAM_EXPIRES_AT)?,
                context.now_ms,
            )?,
            visibility: visibility.map(Visibility::parse).transpose()?,
            closed: says_closed(head)?,
            fork: parse_fork(head, context)?,
        })
    }

    /// Looks at what stands at the name already.
    ///
    /// # Errors
    /// [`Refusal::ConfigMismatch`] for another stream, or one that is kept for its forks.
    pub fn site(&self, head: Option<&StreamHead>, now_ms: u64) -> Result<Site, Refusal> {
        match (head, StreamHead::usable(head, now_ms)) {
            (None, _) => Ok(Site::Free),
            (Some(head), Ok(_)) if self.describes(head) => Ok(Site::Same(created(head, false))),
            (Some(_), Err(Refusal::NotFound)) => Ok(Site::Expired),
            (Some(_), _) => Err(Refusal::ConfigMismatch),
        }
    }

    /// Whether the stream is what this request would have created. What a fork didn't say it inherited.
    fn describes(&self, head: &StreamHead) -> bool {
        let forked = self.fork.is_some();
        let content_type = match &self.content_type {
            Some(content_type) => content_type.matches(&head.content_type),
            None => forked || ContentType::octet_stream().matches(&head.content_type),
        };
        let lifetime = match self.lifetime {
            Some(lifetime) => lifetime == head.lifetime,
            None => forked || head.lifetime == Lifetime::Unlimited,
        };
        let visibility = self.visibility == head.visibility || (forked && self.visibility.is_none());
        let origin = match (&self.fork, &head.fork) {
            (Some(request), Some(origin)) => request.asked_for(origin),
            (None, None) => true,
            _ => false,
        };
        content_type && lifetime && visibility && origin && self.closed == head.closed.is_some()
    }

    /// Makes the new stream, with `body` as its first content.
    ///
    /// # Errors
    /// A [`Refusal`] for a body that isn't what it says, a content type other than the source's, or a tail that no
    /// offset can name.
    pub fn decide(
        &self,
        body: Bytes,
        fork: Option<ForkPoint<'_>>,
        incarnation: Incarnation,
        now_ms: u64,
    ) -> Result<Creation, Refusal> {
        let source = fork.map(|fork| fork.source);
        let content_type = match (&self.content_type, source) {
            (Some(wanted), Some(source)) if !wanted.matches(&source.content_type) => {
                return Err(Refusal::ContentTypeMismatch);
            }
            (_, Some(source)) => source.content_type.clone(),
            (Some(wanted), None) => wanted.clone(),
            (None, None) => ContentType::octet_stream(),
        };
        let bytes = match () {
            () if body.is_empty() => body,
            () if content_type.is_json() => Bytes::from(json::split(&body)?),
            () => body,
        };
        let inherited = source.map_or(Lifetime::Unlimited, |source| source.lifetime);
        let lifetime = self.lifetime.unwrap_or(inherited);
        let begin = fork.map_or(0, |fork| fork.position);
        let tail = Offset::position_after(begin, &bytes).ok_or(Refusal::StorageFull)?;
        let head = StreamHead {
            incarnation,
            version: 1,
            content_type,
            lifetime,
            deadline_ms: lifetime.deadline_ms(now_ms),
            visibility: self.visibility.or(source.and_then(|source| source.visibility)),
            tail,
            closed: self.closed.then(Closure::default),
            changed_ms: now_ms,
            seq_last: None,
            fork: self.fork.as_ref().zip(source).map(|(request, source)| request.origin(source)),
            ancestors: fork.map(|fork| fork.source.ancestors_at(fork.position)).unwrap_or_default(),
            forks: 0,
            soft_deleted: false,
        };
        let source = source.map(|source| source.with_fork(now_ms)).transpose()?;
        let ack = created(&head, true);
        Ok(Creation { change: Change { head, bytes, producer: None }, source, ack })
    }

    /// The answer.
    #[must_use]
    pub fn respond(&self, ack: &Created) -> ResponseHead {
        let mut head = ResponseHead::new(if ack.fresh { StatusCode::CREATED } else { StatusCode::OK });
        if ack.fresh {
            head.headers.insert(header::LOCATION, text_value(&self.location));
        }
        head.headers.insert(header::CONTENT_TYPE, text_value(ack.content_type.as_str()));
        head.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(ack.next));
        head.closed(ack.closed);
        head
    }
}

fn created(head: &StreamHead, fresh: bool) -> Created {
    let content_type = head.content_type.clone();
    Created { next: head.tail_offset(), content_type, closed: head.closed.is_some(), fresh }
}

fn parse_fork(head: &impl RequestHead, context: &ParseContext<'_>) -> Result<Option<ForkRequest>, Refusal> {
    let source = single(head, &names::STREAM_FORKED_FROM)?;
    let offset = single(head, &names::STREAM_FORK_OFFSET)?;
    let sub_offset = single(head, &names::STREAM_FORK_SUB_OFFSET)?;
    let Some(source) = source else {
        return if offset.or(sub_offset).is_some() { Err(Refusal::ForkIncomplete) } else { Ok(None) };
    };
    let source = context.base_path.stream(source).map_err(|_| Refusal::ForkSourceMalformed)?;
    let offset = offset.map(ReadFrom::parse).transpose().map_err(|_| Refusal::ForkOffset)?;
    if offset == Some(ReadFrom::Now) {
        return Err(Refusal::ForkOffset);
    }
    let sub_offset = sub_offset.map_or(Some(0), strict_decimal).ok_or(Refusal::ForkSubOffset)?;
    if sub_offset > 0 && offset.is_none() {
        return Err(Refusal::ForkSubOffset);
    }
    Ok(Some(ForkRequest { source, offset, sub_offset }))
}

/// The stream's own URL, absolute where the request says enough for that.
fn location(head: &impl RequestHead) -> String {
    let mut location = origin(head);
    for byte in head.path().bytes() {
        // A client may send UTF-8 as it is; a header may not carry it.
        if byte.is_ascii_graphic() {
            location.push(byte.into());
        } else {
            let _ = write!(location, "%{byte:02X}");
        }
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Request,
        request::tests::{AnyHead, TestHead, parse, parse_with},
        stream::tests::head,
    };

    const TEXT: (&str, &str) = ("content-type", "text/plain");
    const FROM: (&str, &str) = ("stream-forked-from", "/v1/stream/source");

    fn request(headers: &[(&'static str, &'static str)]) -> Result<Create, Refusal> {
        match parse_with("PUT", headers)? {
            Request::Create(create) => Ok(create),
            other => panic!("{other:?}"),
        }
    }

    fn create(headers: &[(&'static str, &'static str)]) -> Create {
        request(headers).unwrap()
    }

    fn new_stream(headers: &[(&'static str, &'static str)], body: &'static str) -> StreamHead {
        let incarnation = Incarnation::new(7).unwrap();
        create(headers)
            .decide(Bytes::from_static(body.as_bytes()), None, incarnation, 5_000)
            .unwrap()
            .change
            .head
    }

    fn fork(
        headers: &[(&'static str, &'static str)],
        source: &StreamHead,
        position: u64,
    ) -> Result<StreamHead, Refusal> {
        let point = ForkPoint { source, position };
        let creation =
            create(headers).decide(Bytes::new(), Some(point), Incarnation::new(7).unwrap(), 5_000)?;
        assert_eq!(creation.source.unwrap().forks, source.forks + 1);
        Ok(creation.change.head)
    }

    #[test]
    fn a_new_stream_answers_where_it_is_and_what_it_is() {
        let request = create(&[TEXT, ("stream-closed", "true")]);
        let creation =
            request.decide(Bytes::from_static(b"hi"), None, Incarnation::new(7).unwrap(), 5_000).unwrap();
        let response = request.respond(&creation.ack);
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(response.headers[header::LOCATION], "http://streams.example/v1/stream/a");
        assert_eq!(response.headers[header::CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers[names::STREAM_NEXT_OFFSET], "0000000000000007_0000000000000002");
        assert_eq!(response.headers[names::STREAM_CLOSED], "true");
        assert_eq!(creation.change.bytes, "hi");
    }

    #[test]
    fn the_location_is_https_behind_a_proxy_that_says_so() {
        assert_eq!(create(&[("x-forwarded-proto", "https")]).location, "https://streams.example/v1/stream/a");
    }

    #[test]
    fn the_location_of_a_name_sent_unescaped_is_escaped() {
        let head = TestHead { method: "PUT", path: "/v1/stream/caf\u{e9}%20x", ..TestHead::default() };
        let Ok(Request::Create(create)) = parse(&head) else { panic!() };
        assert_eq!(create.name.as_str(), "caf\u{e9} x");
        assert_eq!(create.location, "http://streams.example/v1/stream/caf%C3%A9%20x");
    }

    #[test]
    fn the_location_is_a_path_where_the_host_is_none() {
        for (authority, location) in [
            (Some("[::1]:80"), "http://[::1]:80/v1/stream/a"),
            (Some(""), "/v1/stream/a"),
            (Some("a b"), "/v1/stream/a"),
            (None, "/v1/stream/a"),
        ] {
            let (method, path) = ("PUT".to_owned(), "/v1/stream/a".to_owned());
            let head =
                AnyHead { method, path, authority: authority.map(str::to_owned), ..AnyHead::default() };
            let Ok(Request::Create(create)) = parse(&head) else { panic!("{authority:?}") };
            assert_eq!(create.location, location);
        }
    }

    #[test]
    fn the_same_request_again_finds_what_it_created() {
        let same: [&[(&str, &str)]; 6] = [
            &[],
            &[TEXT],
            &[("content-type", "TEXT/PLAIN; charset=utf-8"), ("stream-ttl", "60")],
            &[TEXT, ("stream-expires-at", "2033-05-18T03:33:20Z")],
            &[TEXT, ("stream-closed", "true")],
            &[TEXT, ("stream-visibility", "private")],
        ];
        for (index, headers) in same.iter().enumerate() {
            let stream = new_stream(headers, "");
            for (other_index, other) in same.iter().enumerate() {
                let site = create(other).site(Some(&stream), 6_000);
                if index == other_index {
                    let Ok(Site::Same(ack)) = site else { panic!("{headers:?} {site:?}") };
                    let response = create(other).respond(&ack);
                    assert_eq!(response.status, StatusCode::OK);
                    assert!(!response.headers.contains_key(header::LOCATION));
                } else {
                    assert_eq!(site, Err(Refusal::ConfigMismatch), "{headers:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn expired_streams_make_room_and_deleted_sources_do_not() {
        let expired = new_stream(&[TEXT, ("stream-ttl", "1")], "");
        assert_eq!(create(&[]).site(Some(&expired), 6_000), Ok(Site::Expired));
        let kept = StreamHead { soft_deleted: true, forks: 1, ..head(1) };
        assert_eq!(create(&[TEXT]).site(Some(&kept), 6_000), Err(Refusal::ConfigMismatch));
        let expired_source = StreamHead { forks: 1, ..expired };
        assert_eq!(
            create(&[TEXT, ("stream-ttl", "1")]).site(Some(&expired_source), 6_000),
            Err(Refusal::ConfigMismatch)
        );
        assert_eq!(create(&[]).site(None, 0), Ok(Site::Free));
    }

    #[test]
    fn json_bodies_are_split_and_empty_arrays_create_empty_streams() {
        let json = ("content-type", "application/json");
        assert_eq!(new_stream(&[json], "[1,2]").tail, 4);
        assert_eq!(new_stream(&[json], "[]").tail, 0);
        assert_eq!(new_stream(&[json], "").tail, 0);
        let broken = create(&[json]).decide(Bytes::from_static(b"{"), None, Incarnation::new(7).unwrap(), 0);
        assert!(matches!(broken, Err(Refusal::JsonMalformed { .. })));
    }

    #[test]
    fn a_fork_inherits_what_it_does_not_say() {
        let source = StreamHead {
            tail: 10,
            lifetime: Lifetime::Sliding { ttl_s: 60 },
            visibility: Some(Visibility::Private),
            closed: Some(Closure::default()),
            seq_last: Some((*b"9").into()),
            ..head(1)
        };
        let made = fork(&[FROM], &source, 6).unwrap();
        assert_eq!((made.tail, made.own_from()), (6, 6));
        assert_eq!(made.content_type, source.content_type);
        assert_eq!((made.lifetime, made.deadline_ms), (source.lifetime, Some(65_000)));
        assert_eq!(made.visibility, Some(Visibility::Private));
        assert_eq!(
            (made.closed.clone(), made.seq_last.clone()),
            (None, None),
            "a fork starts open and fresh"
        );
        assert_eq!(
            create(&[FROM]).site(Some(&made), 6_000).map(|site| matches!(site, Site::Same(_))),
            Ok(true)
        );
        assert_eq!(create(&[TEXT]).site(Some(&made), 6_000), Err(Refusal::ConfigMismatch));
        let own = fork(&[FROM, ("stream-ttl", "5")], &source, 6).unwrap();
        assert_eq!(own.lifetime, Lifetime::Sliding { ttl_s: 5 });
        assert_eq!(
            fork(&[FROM, ("content-type", "image/png")], &source, 6),
            Err(Refusal::ContentTypeMismatch)
        );
    }

    #[test]
    fn no_fork_ends_past_the_last_position() {
        let source = StreamHead { tail: Offset::POSITION_MAX, ..head(1) };
        assert!(fork(&[FROM], &source, Offset::POSITION_MAX).is_ok());
        let point = ForkPoint { source: &source, position: Offset::POSITION_MAX };
        let more = create(&[FROM]).decide(
            Bytes::from_static(b"x"),
            Some(point),
            Incarnation::new(7).unwrap(),
            5_000,
        );
        assert_eq!(more.err(), Some(Refusal::StorageFull));
    }

    #[test]
    fn malformed_forks_are_refused() {
        let offset = ("stream-fork-offset", "0000000000000001_0000000000000003");
        let cases: [(&[(&str, &str)], Refusal); 8] = [
            (&[offset], Refusal::ForkIncomplete),
            (&[("stream-fork-sub-offset", "0")], Refusal::ForkIncomplete),
            (&[("stream-forked-from", "source")], Refusal::ForkSourceMalformed),
            (&[("stream-forked-from", "/v1/stream/../x")], Refusal::ForkSourceMalformed),
            (&[FROM, ("stream-fork-offset", "x")], Refusal::ForkOffset),
            (&[FROM, ("stream-fork-offset", "now")], Refusal::ForkOffset),
            (&[FROM, ("stream-fork-sub-offset", "1")], Refusal::ForkSubOffset),
            (&[FROM, offset, ("stream-fork-sub-offset", "-1")], Refusal::ForkSubOffset),
        ];
        for (headers, expected) in cases {
            assert_eq!(request(headers).err(), Some(expected), "{headers:?}");
        }
        assert!(request(&[FROM, offset, ("stream-fork-sub-offset", "1")]).is_ok());
        assert!(request(&[FROM, ("stream-fork-sub-offset", "0")]).is_ok());
    }
}
