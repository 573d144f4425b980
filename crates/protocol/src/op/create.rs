//! PUT: create a stream, or a fork of one, or make sure that it exists (sections 5.1 and 4.2).

use bytes::Bytes;
use http::{StatusCode, header};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    bad_request::BadRequest,
    cache::Visibility,
    content_type::ContentType,
    decimal,
    expiry::Lifetime,
    fork::ForkRequest,
    json, names,
    offset::{Incarnation, Offset, ReadFrom},
    path::StreamName,
    precondition::Precondition,
    refusal::{Conflict, Missing, Refusal, Unavailable},
    request::{
        forwarded::origin,
        head::{ParseContext, RequestHead, check_content, check_length, says_closed, single},
    },
    response::{Response, ResponseHead, offset_value, text_value},
    stream::{Change, Closure, StreamHead},
};

/// The bytes of a path that a header can't carry: a client may send UTF-8 unescaped.
const NOT_IN_HEADERS: &AsciiSet = &CONTROLS.add(b' ');

/// A PUT whose head was read.
#[derive(Clone, Debug)]
pub struct Create {
    /// The stream to create.
    pub name: StreamName,
    /// The stream to fork from, if any.
    pub fork: Option<ForkRequest>,
    location: String,
    content_type: Option<ContentType>,
    lifetime: Option<Lifetime>,
    visibility: Option<Visibility>,
    closed: bool,
    precondition: Precondition,
}

/// The body of a PUT, checked and in its stored form.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Whether it was split into JSON messages; `None` for an empty body, which is the same for every type.
    is_json: Option<bool>,
    /// Malformed JSON is reported only if nothing else is wrong.
    stored: Result<Bytes, BadRequest>,
}

impl Payload {
    /// Exchanges the stored bytes for ones with the same content, which an embedder may have counted.
    #[must_use]
    pub fn map_stored(self, map: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { stored: self.stored.map(map), ..self }
    }
}

/// The acknowledgement of a PUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    next: Offset,
    content_type: ContentType,
    closed: bool,
    fresh: bool,
}

/// The place at which a stream is to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Site {
    /// There is no stream.
    Free,
    /// There is a stream that has expired: it has to be removed first.
    Expired,
    /// The stream that is asked for exists: the request is answered once that is durable.
    Same(Created),
}

/// The point at which a fork begins.
#[derive(Clone, Copy, Debug)]
pub struct ForkPoint<'a> {
    /// The state of the source.
    pub source: &'a StreamHead,
    /// The position in the source: the anchor and the bytes of the sub-offset.
    pub position: u64,
}

/// The decision on a PUT for a stream that doesn't exist yet.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "made once per request and taken apart at once")]
pub enum Decision {
    /// The creation is to be committed.
    Create(Creation),
    /// The payload was prepared for another kind of stream: it has to be [prepared](Create::prepare) for this type.
    Prepare(ContentType),
}

/// The changes of a creation.
#[derive(Clone, Debug)]
pub struct Creation {
    /// The new stream.
    pub change: Change,
    /// The state of the fork's source, with one more fork.
    pub source: Option<StreamHead>,
    /// The acknowledgement to respond with.
    pub ack: Created,
}

impl Create {
    pub(crate) fn parse(
        head: &impl RequestHead,
        name: StreamName,
        context: &ParseContext<'_>,
    ) -> Result<Self, BadRequest> {
        check_content(head)?;
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
            precondition: Precondition::parse(head)?,
        })
    }

    /// Returns whether the stored form is a copy of the body: its messages. `inherited` is that of [`Create::prepare`].
    #[must_use]
    pub fn splits_body(&self, inherited: Option<&ContentType>) -> bool {
        let content_type = self.content_type.as_ref().or(inherited.filter(|_| self.fork.is_some()));
        content_type.is_some_and(ContentType::is_json)
    }

    /// Checks the body and makes its stored form. It needs no stream, so that no lock has to be held meanwhile.
    ///
    /// `inherited` is the content type of the fork's source. It counts only for a fork that names no type itself; without
    /// it, or if the source is another one by then, [`Create::decide`] asks for another payload.
    #[must_use]
    pub fn prepare(&self, body: Bytes, inherited: Option<&ContentType>) -> Payload {
        let is_json = (!body.is_empty()).then(|| self.splits_body(inherited));
        let stored = if is_json == Some(true) { json::split(&body).map(Bytes::from) } else { Ok(body) };
        Payload { is_json, stored }
    }

    /// Looks at the place at which the stream is to be created.
    ///
    /// # Errors
    /// [`Conflict::ConfigMismatch`] for another stream, or one that is kept for its forks; [`Conflict::Precondition`] if the
    /// stream isn't in the state that the request asks for.
    pub fn site(&self, head: Option<&StreamHead>, now_ms: u64) -> Result<Site, Conflict> {
        let Some(head) = head else { return Ok(Site::Free) };
        match head.usable(now_ms) {
            Ok(head) if self.describes(head) => {
                self.precondition.check(Some(head))?;
                Ok(Site::Same(created(head, false)))
            }
            Err(Missing::NotFound) => Ok(Site::Expired),
            Ok(_) | Err(_) => Err(Conflict::ConfigMismatch),
        }
    }

    /// Returns whether the stream is the one that this request would have created. A fork inherits what its request leaves out.
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

    /// Decides on the new stream, with the payload as its first content.
    ///
    /// # Errors
    /// A [`Refusal`] for malformed JSON, a content type other than the source's, a tail that no offset can name, or a
    /// condition that only an existing stream could meet.
    pub fn decide(
        &self,
        payload: &Payload,
        fork: Option<ForkPoint<'_>>,
        incarnation: Incarnation,
        now_ms: u64,
    ) -> Result<Decision, Refusal> {
        let source = fork.map(|fork| fork.source);
        let content_type = match (&self.content_type, source) {
            (Some(wanted), Some(source)) if !wanted.matches(&source.content_type) => {
                return Err(Conflict::ContentTypeMismatch.into());
            }
            (_, Some(source)) => source.content_type.clone(),
            (Some(wanted), None) => wanted.clone(),
            (None, None) => ContentType::octet_stream(),
        };
        if payload.is_json.is_some_and(|is_json| is_json != content_type.is_json()) {
            return Ok(Decision::Prepare(content_type));
        }
        let bytes = payload.stored.clone()?;
        let inherited = source.map_or(Lifetime::Unlimited, |source| source.lifetime);
        let lifetime = self.lifetime.unwrap_or(inherited);
        let begin = fork.map_or(0, |fork| fork.position);
        let tail = Offset::position_after(begin, &bytes).ok_or(Unavailable::StorageFull)?;
        let head = StreamHead {
            lifetime,
            deadline_ms: lifetime.deadline_ms(now_ms),
            visibility: self.visibility.or(source.and_then(|source| source.visibility)),
            tail,
            closed: self.closed.then(Closure::default),
            changed_ms: now_ms,
            fork: self.fork.as_ref().zip(source).map(|(request, source)| request.origin(source)),
            ancestors: fork.map(|fork| fork.source.ancestors_at(fork.position)).unwrap_or_default(),
            ..StreamHead::new(incarnation, content_type)
        };
        let source = source.map(|source| source.with_fork(now_ms)).transpose()?;
        self.precondition.check(None)?;
        let ack = created(&head, true);
        Ok(Decision::Create(Creation { change: Change { head, bytes, producer: None }, source, ack }))
    }

    /// Returns the response.
    #[must_use]
    pub fn respond(&self, ack: &Created) -> Response {
        let mut head = ResponseHead::new(if ack.fresh { StatusCode::CREATED } else { StatusCode::OK });
        if ack.fresh {
            head.headers.insert(header::LOCATION, text_value(&self.location));
        }
        head.headers.insert(header::CONTENT_TYPE, text_value(ack.content_type.as_str()));
        head.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(ack.next));
        head.closed(ack.closed);
        head.into()
    }
}

fn created(head: &StreamHead, fresh: bool) -> Created {
    let content_type = head.content_type.clone();
    Created { next: head.tail_offset(), content_type, closed: head.closed.is_some(), fresh }
}

fn parse_fork(
    head: &impl RequestHead,
    context: &ParseContext<'_>,
) -> Result<Option<ForkRequest>, BadRequest> {
    let source = single(head, &names::STREAM_FORKED_FROM)?;
    let offset = single(head, &names::STREAM_FORK_OFFSET)?;
    let sub_offset = single(head, &names::STREAM_FORK_SUB_OFFSET)?;
    let Some(source) = source else {
        return if offset.or(sub_offset).is_some() { Err(BadRequest::ForkIncomplete) } else { Ok(None) };
    };
    let source = context.base_path.stream(source).map_err(|_| BadRequest::ForkSourceMalformed)?;
    let offset = offset.map(ReadFrom::parse).transpose().map_err(|_| BadRequest::ForkOffsetMalformed)?;
    if offset == Some(ReadFrom::Now) {
        return Err(BadRequest::ForkOffsetMalformed);
    }
    let sub_offset = sub_offset.map_or(Some(0), decimal::parse).ok_or(BadRequest::ForkSubOffsetMalformed)?;
    if sub_offset > 0 && offset.is_none() {
        return Err(BadRequest::ForkSubOffsetMalformed);
    }
    Ok(Some(ForkRequest { source, offset, sub_offset }))
}

/// Returns the stream's URL, absolute if the request names a valid host.
fn location(head: &impl RequestHead) -> String {
    let mut location = origin(head);
    location.extend(utf8_percent_encode(head.path(), NOT_IN_HEADERS));
    location
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::{
            Request,
            tests::{AnyHead, TestHead, parse, parse_with},
        },
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

    fn decide(create: &Create, body: &'static str, fork: Option<ForkPoint<'_>>) -> Result<Creation, Refusal> {
        let body = Bytes::from_static(body.as_bytes());
        let payload = create.prepare(body, fork.map(|fork| &fork.source.content_type));
        match create.decide(&payload, fork, Incarnation::new(7).unwrap(), 5_000)? {
            Decision::Create(creation) => Ok(creation),
            Decision::Prepare(content_type) => panic!("it was prepared for another type than {content_type}"),
        }
    }

    fn new_stream(headers: &[(&'static str, &'static str)], body: &'static str) -> StreamHead {
        decide(&create(headers), body, None).unwrap().change.head
    }

    fn fork(
        headers: &[(&'static str, &'static str)],
        source: &StreamHead,
        position: u64,
    ) -> Result<StreamHead, Refusal> {
        let point = ForkPoint { source, position };
        let creation = decide(&create(headers), "", Some(point))?;
        assert_eq!(creation.source.unwrap().forks, source.forks + 1);
        Ok(creation.change.head)
    }

    #[test]
    fn a_new_stream_answers_where_it_is_and_what_it_is() {
        let request = create(&[TEXT, ("stream-closed", "true")]);
        let creation = decide(&request, "hi", None).unwrap();
        let response = request.respond(&creation.ack).head;
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(response.headers[header::LOCATION], "http://streams.example/v1/stream/a");
        assert_eq!(response.headers[header::CONTENT_TYPE], "text/plain");
        assert_eq!(response.headers[names::STREAM_NEXT_OFFSET], "0000000000000007_0000000000000002");
        assert_eq!(response.headers[names::STREAM_CLOSED], "true");
        assert_eq!(creation.change.bytes, "hi");
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
                    let response = create(other).respond(&ack).head;
                    assert_eq!(response.status, StatusCode::OK);
                    assert!(!response.headers.contains_key(header::LOCATION));
                } else {
                    assert_eq!(site, Err(Conflict::ConfigMismatch), "{headers:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn expired_streams_make_room_and_deleted_sources_do_not() {
        let expired = new_stream(&[TEXT, ("stream-ttl", "1")], "");
        assert_eq!(create(&[]).site(Some(&expired), 6_000), Ok(Site::Expired));
        let kept = StreamHead { soft_deleted: true, forks: 1, ..head(1) };
        assert_eq!(create(&[TEXT]).site(Some(&kept), 6_000), Err(Conflict::ConfigMismatch));
        let expired_source = StreamHead { forks: 1, ..expired };
        assert_eq!(
            create(&[TEXT, ("stream-ttl", "1")]).site(Some(&expired_source), 6_000),
            Err(Conflict::ConfigMismatch)
        );
        assert_eq!(create(&[]).site(None, 0), Ok(Site::Free));
    }

    #[test]
    fn json_bodies_are_split_and_empty_arrays_create_empty_streams() {
        let json = ("content-type", "application/json");
        assert_eq!(new_stream(&[json], "[1,2]").tail, 4);
        assert_eq!(new_stream(&[json], "[]").tail, 0);
        assert_eq!(new_stream(&[json], "").tail, 0);
        let broken = decide(&create(&[json]), "{", None);
        assert!(matches!(broken, Err(Refusal::Request(BadRequest::JsonMalformed { .. }))));
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
        assert_eq!(create(&[TEXT]).site(Some(&made), 6_000), Err(Conflict::ConfigMismatch));
        let own = fork(&[FROM, ("stream-ttl", "5")], &source, 6).unwrap();
        assert_eq!(own.lifetime, Lifetime::Sliding { ttl_s: 5 });
        assert_eq!(
            fork(&[FROM, ("content-type", "image/png")], &source, 6),
            Err(Conflict::ContentTypeMismatch.into())
        );
    }

    #[test]
    fn a_body_is_split_for_the_type_that_a_fork_inherits() {
        let json = ContentType::parse("application/json").unwrap();
        let source = StreamHead { content_type: json.clone(), ..head(1) };
        let point = ForkPoint { source: &source, position: 0 };
        let creation = decide(&create(&[FROM]), "[1, 2]", Some(point)).unwrap();
        assert_eq!(creation.change.bytes, "1,2,");
        let incarnation = Incarnation::new(7).unwrap();
        let decide = |inherited: Option<&ContentType>, source, body| {
            let payload = create(&[FROM]).prepare(Bytes::from_static(body), inherited);
            let point = ForkPoint { source, position: 0 };
            create(&[FROM]).decide(&payload, Some(point), incarnation, 5_000).unwrap()
        };
        let text = head(2);
        for (inherited, source, body) in
            [(None, &source, &b"[1]"[..]), (Some(&json), &text, b"[1]"), (Some(&json), &text, b"[]")]
        {
            let Decision::Prepare(content_type) = decide(inherited, source, body) else { panic!("{body:?}") };
            assert_eq!(content_type, source.content_type);
        }
        assert!(matches!(decide(None, &source, b""), Decision::Create(_)));
    }

    #[test]
    fn no_fork_ends_past_the_last_position() {
        let source = StreamHead { tail: Offset::POSITION_MAX, ..head(1) };
        assert!(fork(&[FROM], &source, Offset::POSITION_MAX).is_ok());
        let point = ForkPoint { source: &source, position: Offset::POSITION_MAX };
        let more = decide(&create(&[FROM]), "x", Some(point));
        assert_eq!(more.err(), Some(Unavailable::StorageFull.into()));
    }

    #[test]
    fn malformed_forks_are_refused() {
        let offset = ("stream-fork-offset", "0000000000000001_0000000000000003");
        let cases: [(&[(&str, &str)], BadRequest); 8] = [
            (&[offset], BadRequest::ForkIncomplete),
            (&[("stream-fork-sub-offset", "0")], BadRequest::ForkIncomplete),
            (&[("stream-forked-from", "source")], BadRequest::ForkSourceMalformed),
            (&[("stream-forked-from", "/v1/stream/../x")], BadRequest::ForkSourceMalformed),
            (&[FROM, ("stream-fork-offset", "x")], BadRequest::ForkOffsetMalformed),
            (&[FROM, ("stream-fork-offset", "now")], BadRequest::ForkOffsetMalformed),
            (&[FROM, ("stream-fork-sub-offset", "1")], BadRequest::ForkSubOffsetMalformed),
            (&[FROM, offset, ("stream-fork-sub-offset", "-1")], BadRequest::ForkSubOffsetMalformed),
        ];
        for (headers, expected) in cases {
            assert_eq!(request(headers).err(), Some(expected.into()), "{headers:?}");
        }
        assert!(request(&[FROM, offset, ("stream-fork-sub-offset", "1")]).is_ok());
        assert!(request(&[FROM, ("stream-fork-sub-offset", "0")]).is_ok());
    }
}
