//! GET: catch-up, long-poll and event streams (sections 5.6 to 5.8, 8 and 10).

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};

use crate::{
    bad_request::BadRequest,
    cache::{CachePolicy, Class},
    content_type::SseEncoding,
    cursor::{Cursor, CursorPolicy, Moment},
    etag::{self, EntityTag},
    expiry, names,
    offset::ReadFrom,
    path::StreamName,
    progress::Progress,
    request::head::{RequestHead, single},
    response::{Response, ResponseHead, offset_value, text_value},
    stream::StreamHead,
};

/// The way in which a read continues at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The read ends (section 5.6).
    CatchUp,
    /// The read waits for the next bytes, once (section 5.7).
    LongPoll,
    /// The response is an event stream (section 5.8).
    EventStream,
}

/// A GET whose head was read.
#[derive(Clone, Debug)]
pub struct Read {
    /// The stream to read.
    pub name: StreamName,
    /// The place to begin at.
    pub from: ReadFrom,
    /// The way to continue at the tail.
    pub mode: Mode,
    /// The cursor that the client echoed.
    pub cursor: Option<Cursor>,
    /// Whether the URL has an offset. Without one it is the URL of HEAD too.
    has_offset: bool,
    /// Whether the place is that of `Last-Event-ID`, in the header or in the URL.
    resumes: bool,
    if_none_match: Vec<Box<[u8]>>,
}

/// The settings of responses to reads.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ReadPolicies {
    /// The settings of Cache-Control.
    pub cache: CachePolicy,
    /// The settings of cursors.
    pub cursor: CursorPolicy,
    /// Whether events of the State Protocol get [offsets](crate::state_event).
    pub state_offsets: bool,
}

impl ReadPolicies {
    /// Returns whether the events of a stream get offsets.
    #[must_use]
    pub fn has_offsets(&self, stream: &StreamHead) -> bool {
        self.state_offsets && stream.content_type.is_json()
    }
}

/// The values that responses to a read depend on besides the request.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// The state of the stream.
    pub stream: &'a StreamHead,
    /// The settings of the server.
    pub policies: &'a ReadPolicies,
    /// The current time, in milliseconds since 1970.
    pub now_ms: u64,
}

impl Read {
    pub(crate) fn parse(head: &impl RequestHead, name: StreamName) -> Result<Self, BadRequest> {
        let query = Query::parse(head.query().unwrap_or(""))?;
        let mode = match query.live.as_deref() {
            None => Mode::CatchUp,
            Some("long-poll") => Mode::LongPoll,
            Some("sse") => Mode::EventStream,
            Some(_) => return Err(BadRequest::LiveMalformed),
        };
        // A browser that reconnects by itself repeats the first URL and says where it was in this header. Polyfills that may
        // not send headers of their own say it in the URL.
        let resumed = match mode {
            // An empty one is what an EventSource begins with (HTML Living Standard, 9.2.4).
            Mode::EventStream => single(head, &names::LAST_EVENT_ID)?
                .map(Cow::Borrowed)
                .filter(|id| !id.is_empty())
                .or(query.last_event_id)
                .filter(|id| !id.is_empty()),
            Mode::CatchUp | Mode::LongPoll => None,
        };
        let resumes = resumed.is_some();
        let offset = resumed.or(query.offset);
        if offset.is_none() && mode != Mode::CatchUp {
            return Err(BadRequest::OffsetMissing);
        }
        let from = offset.as_deref().map_or(Ok(ReadFrom::Start), ReadFrom::parse)?;
        let cursor = query.cursor.as_deref().and_then(Cursor::parse);
        let if_none_match = head.header(&header::IF_NONE_MATCH).map(Into::into).collect();
        Ok(Self { name, from, mode, cursor, has_offset: offset.is_some(), resumes, if_none_match })
    }

    /// Returns the head for the bytes from `start` to `end`. If the client has them already, the head
    /// [says so](ResponseHead::is_not_modified) and no body may follow.
    #[must_use]
    pub fn respond(&self, context: &ReadContext<'_>, start: u64, end: u64) -> ResponseHead {
        let stream = context.stream;
        let progress = Progress::at(stream, end);
        let mut head = self.base(context, StatusCode::OK, progress, self.class(stream, progress));
        let has_offsets = context.policies.has_offsets(stream);
        let tag =
            EntityTag { incarnation: stream.incarnation, start, end, has_offsets, reach: progress.into() };
        if self.from != ReadFrom::Now {
            let tag = tag.encode();
            head.headers.insert(header::ETAG, text_value(&tag));
            if etag::none_match_names(self.if_none_match.iter().map(|line| &**line), &tag) {
                head.status = StatusCode::NOT_MODIFIED;
                return head;
            }
        }
        head.headers.insert(header::CONTENT_TYPE, text_value(stream.content_type.as_str()));
        head
    }

    /// Returns whether the response at `position` tells an EventSource to stop: it has had everything of a closed stream,
    /// and would ask for it again for ever. A 204 makes it end (HTML Living Standard, 9.2.2).
    #[must_use]
    pub fn ends_event_source(&self, stream: &StreamHead, position: u64) -> bool {
        self.mode == Mode::EventStream && self.resumes && Progress::at(stream, position).closed
    }

    /// Returns the response of a read that has nothing to deliver at `position`: of a long-poll, or of an EventSource that
    /// [ends](Self::ends_event_source).
    #[must_use]
    pub fn respond_nothing(&self, context: &ReadContext<'_>, position: u64, draining: bool) -> Response {
        let progress = Progress::at(context.stream, position);
        // A long-poll that was cut short has nothing to say that a cache should repeat.
        let cut_short = draining && !progress.closed;
        let class = if self.from == ReadFrom::Now || self.mode == Mode::EventStream || cut_short {
            Class::Never
        } else if progress.closed {
            Class::LongPollClosed
        } else {
            Class::LongPollTimeout
        };
        self.base(context, StatusCode::NO_CONTENT, progress, class).into()
    }

    /// Returns the head of an event stream that ends at `end_ms`, in milliseconds since 1970.
    #[must_use]
    pub fn respond_events(&self, context: &ReadContext<'_>, end_ms: u64) -> ResponseHead {
        let ReadContext { stream, policies, now_ms } = *context;
        let mut head = ResponseHead::new(StatusCode::OK);
        let shared = policies.cache.event_stream_max_age_s.is_some();
        head.class = if shared && self.from == ReadFrom::Now { Class::Never } else { Class::EventStream };
        // The age is capped at the event stream's end, or a cache could replay a stale "up to date".
        let deadline_ms = stream.deadline_ms.map_or(end_ms, |deadline_ms| deadline_ms.min(end_ms));
        let remaining_s = expiry::remaining_s(Some(deadline_ms), now_ms);
        let cache_control = policies.cache.cache_control(head.class, stream.visibility, remaining_s);
        head.headers.insert(header::CACHE_CONTROL, cache_control);
        if shared {
            // The header is a part of the reader's position, and it isn't in the URL.
            head.headers.insert(header::VARY, HeaderValue::from(names::LAST_EVENT_ID));
        }
        head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        head.headers.insert(names::X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        head.headers.insert(names::NO_VARY_SEARCH, HeaderValue::from_static("key-order"));
        if stream.content_type.sse_encoding() == SseEncoding::Base64 {
            head.headers.insert(names::STREAM_SSE_DATA_ENCODING, HeaderValue::from_static("base64"));
        }
        head
    }

    /// Returns the cursor of a response that ends at `position`.
    #[must_use]
    pub fn next_cursor(&self, context: &ReadContext<'_>, position: u64) -> Cursor {
        let StreamHead { incarnation, changed_ms, .. } = *context.stream;
        let moment = Moment { incarnation, changed_ms, position, now_ms: context.now_ms };
        context.policies.cursor.cursor(moment, self.cursor)
    }

    fn class(&self, stream: &StreamHead, progress: Progress) -> Class {
        // An offset that a fork inherited doesn't name its incarnation: another fork of that name has it too, with other
        // bytes after it.
        let names_incarnation =
            matches!(self.from, ReadFrom::At(offset) if offset.incarnation == stream.incarnation);
        if self.from == ReadFrom::Now {
            Class::Never
        } else if self.mode == Mode::LongPoll {
            Class::LongPollData
        } else if !self.has_offset {
            Class::Never
        } else if progress.up_to_date && !progress.closed {
            Class::OpenTail
        } else if !names_incarnation {
            Class::ChunkUnnamed
        } else if progress.closed {
            Class::ClosedTail
        } else {
            Class::Chunk
        }
    }

    /// Returns the headers that all responses to reads have, but for event streams.
    fn base(
        &self,
        context: &ReadContext<'_>,
        status: StatusCode,
        progress: Progress,
        class: Class,
    ) -> ResponseHead {
        let ReadContext { stream, policies, now_ms } = *context;
        let mut head = ResponseHead::of_read(status, class);
        head.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(progress.next));
        if progress.up_to_date {
            head.headers.insert(names::STREAM_UP_TO_DATE, HeaderValue::from_static("true"));
        }
        head.closed(progress.closed);
        // Readers that have just caught up get the cursor of those that wait, and so the same URL. At the end of a closed
        // stream no cursor is needed.
        if !progress.closed && (progress.up_to_date || self.mode == Mode::LongPoll) {
            let cursor = self.next_cursor(context, progress.next.position);
            head.headers.insert(names::STREAM_CURSOR, HeaderValue::from(cursor.get()));
        }
        let remaining_s = expiry::remaining_s(stream.deadline_ms, now_ms);
        let cache_control = policies.cache.cache_control(class, stream.visibility, remaining_s);
        head.headers.insert(header::CACHE_CONTROL, cache_control);
        head.headers.insert(names::NO_VARY_SEARCH, HeaderValue::from_static("key-order"));
        head
    }
}

/// The parameters that count; all others are ignored (section 11.1).
#[derive(Debug, Default)]
struct Query<'a> {
    offset: Option<Cow<'a, str>>,
    live: Option<Cow<'a, str>>,
    cursor: Option<Cow<'a, str>>,
    last_event_id: Option<Cow<'a, str>>,
}

impl<'a> Query<'a> {
    fn parse(text: &'a str) -> Result<Self, BadRequest> {
        let mut query = Self::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            let (slot, parameter) = match &*key {
                "offset" => (&mut query.offset, "offset"),
                "live" => (&mut query.live, "live"),
                "cursor" => (&mut query.cursor, "cursor"),
                "lastEventId" => (&mut query.last_event_id, "lastEventId"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(BadRequest::ParameterRepeated { parameter });
            }
        }
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cursor::EPOCH_MS,
        offset::Incarnation,
        refusal::Refusal,
        request::{
            Request,
            tests::{TestHead, parse},
        },
        stream::{Ancestor, Closure, tests::head},
    };

    const NAMED: &str = "offset=0000000000000001_0000000000000005";
    const NAMED_POLL: &str = "offset=0000000000000001_0000000000000005&live=long-poll";
    const NOW_MS: u64 = EPOCH_MS + 60_000;

    fn request(query: &'static str, headers: &[(&'static str, &'static str)]) -> Result<Read, Refusal> {
        let head = TestHead {
            method: "GET",
            path: "/v1/stream/a",
            query: Some(query),
            headers: headers.to_vec(),
            ..TestHead::default()
        };
        match parse(&head)? {
            Request::Read(read) => Ok(read),
            other => panic!("{other:?}"),
        }
    }

    fn read(query: &'static str) -> Read {
        request(query, &[]).unwrap()
    }

    fn open() -> StreamHead {
        StreamHead { tail: 9, changed_ms: EPOCH_MS + 59_000, ..head(1) }
    }

    fn closed() -> StreamHead {
        StreamHead { closed: Some(Closure::default()), ..open() }
    }

    fn context<'a>(stream: &'a StreamHead, policies: &'a ReadPolicies) -> ReadContext<'a> {
        ReadContext { stream, policies, now_ms: NOW_MS }
    }

    fn answer(query: &'static str, stream: &StreamHead, start: u64, end: u64) -> ResponseHead {
        let head = read(query).respond(&context(stream, &ReadPolicies::default()), start, end);
        assert!(!head.is_not_modified(), "{head:?}");
        head
    }

    #[test]
    fn cache_control_of_every_read_that_ends() {
        let stable = "public, max-age=60, stale-while-revalidate=300";
        let cases: [(&'static str, StreamHead, u64, &str); 16] = [
            (NAMED, open(), 7, stable),
            (NAMED, open(), 9, "public, max-age=1"),
            (NAMED, closed(), 7, stable),
            (NAMED, closed(), 9, stable),
            ("offset=-1", open(), 7, "public, max-age=60"),
            ("offset=-1", open(), 9, "public, max-age=1"),
            ("offset=-1", closed(), 9, "public, max-age=60"),
            ("offset=0000000000000000_0000000000000000", open(), 7, "public, max-age=60"),
            ("offset=now", open(), 9, "no-store"),
            ("offset=now", closed(), 9, "no-store"),
            ("", open(), 7, "no-store"),
            ("foo=bar", closed(), 9, "no-store"),
            (NAMED_POLL, open(), 9, "public, max-age=5"),
            ("offset=-1&live=long-poll", open(), 7, "public, max-age=5"),
            (NAMED_POLL, closed(), 9, "public, max-age=5"),
            ("offset=now&live=long-poll", open(), 9, "no-store"),
        ];
        for (query, stream, end, expected) in cases {
            let head = answer(query, &stream, 5, end);
            assert_eq!(head.headers[header::CACHE_CONTROL], expected, "{query} {:?} {end}", stream.closed);
        }
    }

    #[test]
    fn an_inherited_offset_does_not_name_the_incarnation_of_a_fork() {
        let ancestor = Ancestor { incarnation: Incarnation::new(1).unwrap(), until: 5 };
        let fork = |stream: StreamHead| StreamHead { ancestors: vec![ancestor], ..stream };
        let (open, closed) = (
            fork(StreamHead { tail: 9, ..head(2) }),
            fork(StreamHead { closed: Some(Closure::default()), tail: 9, ..head(2) }),
        );
        let own = "offset=0000000000000002_0000000000000006";
        let stable = "public, max-age=60, stale-while-revalidate=300";
        for (query, stream, end, expected) in [
            (NAMED, &open, 7, "public, max-age=60"),
            (NAMED, &open, 9, "public, max-age=1"),
            (NAMED, &closed, 9, "public, max-age=60"),
            (own, &open, 7, stable),
            (own, &closed, 9, stable),
        ] {
            let head = answer(query, stream, 5, end);
            assert_eq!(head.headers[header::CACHE_CONTROL], expected, "{query} {:?} {end}", stream.closed);
        }
    }

    #[test]
    fn cache_control_of_long_polls_with_nothing() {
        let nothing = |query, stream: &StreamHead, draining| {
            let policies = ReadPolicies::default();
            let head = read(query).respond_nothing(&context(stream, &policies), 9, draining).head;
            assert_eq!(head.status, StatusCode::NO_CONTENT);
            assert_eq!(head.headers[names::STREAM_UP_TO_DATE], "true");
            assert_eq!(head.headers.contains_key(names::STREAM_CURSOR), stream.closed.is_none());
            head.headers[header::CACHE_CONTROL].to_str().unwrap().to_owned()
        };
        assert_eq!(nothing(NAMED_POLL, &open(), false), "public, max-age=1");
        assert_eq!(nothing(NAMED_POLL, &closed(), false), "public, max-age=60");
        assert_eq!(nothing("offset=now&live=long-poll", &open(), false), "no-store");
        assert_eq!(nothing(NAMED_POLL, &open(), true), "no-store");
        assert_eq!(nothing(NAMED_POLL, &closed(), true), "public, max-age=60");
    }

    #[test]
    fn the_cursor_is_there_for_who_may_wait() {
        let cursor = |query, stream: &StreamHead, end| {
            answer(query, stream, 5, end)
                .headers
                .get(names::STREAM_CURSOR)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let expected = Some("60000".to_owned());
        assert_eq!(cursor(NAMED, &open(), 9), expected);
        assert_eq!(cursor("offset=now", &open(), 9), expected);
        assert_eq!(cursor(NAMED_POLL, &open(), 7), expected);
        assert_eq!(cursor(NAMED_POLL, &closed(), 7), expected, "closed, but not yet reached");
        assert_eq!(cursor(NAMED, &open(), 7), None);
        assert_eq!(cursor(NAMED_POLL, &closed(), 9), None);
        let echoed = "offset=-1&live=long-poll&cursor=60000";
        assert_eq!(cursor(echoed, &open(), 9), Some("60001".to_owned()));
    }

    #[test]
    fn one_read_has_one_tag_however_it_is_spelled() {
        let tag = |query| answer(query, &open(), 0, 9).headers.get(header::ETAG).cloned();
        let expected = Some(HeaderValue::from_static("\"0000000000000001:0:9:tail\""));
        for query in ["", "offset=-1", "offset=0000000000000000_0000000000000000", "live=long-poll&offset=-1"]
        {
            assert_eq!(tag(query), expected, "{query}");
        }
        assert_eq!(tag("offset=now"), None);
        let closed = answer("offset=-1", &closed(), 0, 9);
        assert_eq!(closed.headers[header::ETAG], "\"0000000000000001:0:9:closed\"");
    }

    #[test]
    fn not_modified_says_all_that_the_answer_would_have_said() {
        let headers = [("if-none-match", "W/\"0000000000000001:5:9:tail\"")];
        let conditional = request(NAMED, &headers).unwrap();
        let (open, closed, policies) = (open(), closed(), ReadPolicies::default());
        let head = conditional.respond(&context(&open, &policies), 5, 9);
        let full = answer(NAMED, &open, 5, 9);
        assert_eq!(head.status, StatusCode::NOT_MODIFIED);
        for name in full.headers.keys().filter(|name| *name != header::CONTENT_TYPE) {
            assert_eq!(head.headers.get(name), full.headers.get(name), "{name}");
        }
        let now_closed = conditional.respond(&context(&closed, &policies), 5, 9);
        assert!(!now_closed.is_not_modified(), "closure changes the tag");
    }

    #[test]
    fn the_query_is_strict_where_it_counts() {
        let refused = [
            ("offset=", BadRequest::OffsetMalformed),
            ("offset=0,1", BadRequest::OffsetMalformed),
            ("offset=0%201", BadRequest::OffsetMalformed),
            ("offset=a&offset=b", BadRequest::ParameterRepeated { parameter: "offset" }),
            ("offset=-1&offset=-1", BadRequest::ParameterRepeated { parameter: "offset" }),
            ("offset=-1&live=sse&live=sse", BadRequest::ParameterRepeated { parameter: "live" }),
            ("offset=-1&live=", BadRequest::LiveMalformed),
            ("offset=-1&live=poll", BadRequest::LiveMalformed),
            ("live=long-poll", BadRequest::OffsetMissing),
            ("live=sse", BadRequest::OffsetMissing),
        ];
        for (query, expected) in refused {
            assert_eq!(request(query, &[]).err(), Some(expected.into()), "{query}");
        }
        for query in ["", "x", "foo=1&foo=2", "offset=%2D1", "cursor=abc&live=sse&offset=now", "&&offset=-1&"]
        {
            assert!(request(query, &[]).is_ok(), "{query}");
        }
    }

    #[test]
    fn a_plain_event_source_resumes_where_it_was() {
        let headers = [("last-event-id", "0000000000000001_0000000000000005")];
        let resumed = request("offset=-1&live=sse", &headers).unwrap();
        assert!(matches!(resumed.from, ReadFrom::At(offset) if offset.position == 5));
        assert_eq!(
            request("offset=-1", &headers).unwrap().from,
            ReadFrom::Start,
            "only event streams look at it"
        );
    }

    #[test]
    fn event_streams_are_neither_stored_nor_buffered_nor_changed() {
        let events = |stream: &StreamHead| {
            let policies = ReadPolicies::default();
            read("offset=-1&live=sse").respond_events(&context(stream, &policies), NOW_MS + 60_000)
        };
        let text = events(&open());
        assert_eq!(text.headers[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(text.headers[header::CACHE_CONTROL], "no-cache, no-transform");
        assert_eq!(text.headers[names::X_ACCEL_BUFFERING], "no");
        assert!(!text.headers.contains_key(names::STREAM_SSE_DATA_ENCODING));
        let binary = StreamHead { content_type: crate::content_type::ContentType::octet_stream(), ..open() };
        assert_eq!(events(&binary).headers[names::STREAM_SSE_DATA_ENCODING], "base64");
    }

    #[test]
    fn a_shared_event_stream_is_fresh_until_it_ends_and_varies_by_where_the_reader_stands() {
        let (open, mut policies) = (open(), ReadPolicies::default());
        policies.cache.event_stream_max_age_s = Some(10);
        let shared = |query, end_ms| read(query).respond_events(&context(&open, &policies), end_ms).headers;
        let headers = shared("offset=-1&live=sse", NOW_MS + 60_000);
        assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=10");
        assert_eq!(headers[header::VARY], "last-event-id");
        assert_eq!(shared("offset=-1&live=sse", NOW_MS + 3_999)[header::CACHE_CONTROL], "public, max-age=3");
        assert_eq!(shared("offset=now&live=sse", NOW_MS + 60_000)[header::CACHE_CONTROL], "no-store");
    }
}
