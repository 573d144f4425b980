//! POST: append, close, or both at once (sections 5.2, 5.2.1 and 5.3).

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::{
    bad_request::BadRequest,
    content_type::ContentType,
    json, names,
    offset::{Offset, ReadFrom},
    path::StreamName,
    precondition::Precondition,
    producer::{self, Claim, Judgement, ProducerState},
    refusal::{Conflict, Missing, Refusal, Unavailable},
    request::head::{ParseContext, RequestHead, check_content, check_length, says_closed, single},
    response::{Response, ResponseHead, offset_value},
    stream::{Change, Closure, StreamHead, Verdict},
};

/// The longest `Stream-Seq`, in bytes.
pub const SEQ_BYTES_MAX: usize = 256;

/// A POST whose head was read.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream to append to.
    pub name: StreamName,
    /// The producer's claim, if there is one: [`Append::decide`] needs the state of that producer.
    pub claim: Option<Claim>,
    content_type: Option<Result<ContentType, BadRequest>>,
    seq: Option<Box<[u8]>>,
    /// Where the stream must end.
    expected: Option<ReadFrom>,
    close: bool,
    precondition: Precondition,
}

/// The body of a POST, checked and in its stored form.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The body's type; `None` if there is no body.
    content_type: Option<ContentType>,
    /// Malformed JSON is reported only if nothing is wrong with the stream.
    stored: Result<Bytes, BadRequest>,
}

/// The acknowledgement of a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The tail afterwards.
    pub next: Offset,
    /// Whether the stream is closed afterwards.
    pub closed: bool,
    /// The state of the producer afterwards.
    pub producer: Option<ProducerState>,
    /// Whether this request added bytes.
    pub added: bool,
}

impl Payload {
    /// Exchanges the stored bytes for ones with the same content, which an embedder may have counted.
    #[must_use]
    pub fn map_stored(self, map: impl FnOnce(Bytes) -> Bytes) -> Self {
        Self { stored: self.stored.map(map), ..self }
    }
}

impl Append {
    pub(crate) fn parse(
        head: &impl RequestHead,
        name: StreamName,
        context: &ParseContext<'_>,
    ) -> Result<Self, BadRequest> {
        check_content(head)?;
        check_length(head, context.body_bytes_max)?;
        let seq = single(head, &names::STREAM_SEQ)?.map(str::as_bytes);
        if seq.is_some_and(|seq| seq.is_empty() || seq.len() > SEQ_BYTES_MAX) {
            return Err(BadRequest::SeqMalformed);
        }
        Ok(Self {
            name,
            claim: Claim::parse(
                single(head, &names::PRODUCER_ID)?,
                single(head, &names::PRODUCER_EPOCH)?,
                single(head, &names::PRODUCER_SEQ)?,
            )?,
            // Checked with the body: without one it doesn't matter what clients attach by default.
            content_type: single(head, &header::CONTENT_TYPE)?.map(ContentType::parse),
            seq: seq.map(Into::into),
            expected: single(head, &names::STREAM_EXPECTED_OFFSET)?.map(parse_expected).transpose()?,
            close: says_closed(head)?,
            precondition: Precondition::parse(head)?,
        })
    }

    /// Returns an append of one event by the server itself (section 7.2).
    #[cfg(feature = "subscriptions")]
    #[must_use]
    pub fn of_event(name: StreamName, content_type: ContentType) -> Self {
        Self {
            name,
            claim: None,
            content_type: Some(Ok(content_type)),
            seq: None,
            expected: None,
            close: false,
            precondition: Precondition::default(),
        }
    }

    /// Returns whether the stored form is a copy of the body: its messages.
    #[must_use]
    pub fn splits_body(&self) -> bool {
        self.content_type.as_ref().is_some_and(|parsed| parsed.as_ref().is_ok_and(ContentType::is_json))
    }

    /// Checks the body and makes its stored form. It needs no stream, so that no lock has to be held meanwhile.
    ///
    /// # Errors
    /// A [`BadRequest`] for an empty body that doesn't close the stream, or for a body without a type.
    pub fn prepare(&self, body: Bytes) -> Result<Payload, BadRequest> {
        if body.is_empty() {
            let payload = Payload { content_type: None, stored: Ok(body) };
            return if self.close { Ok(payload) } else { Err(BadRequest::BodyEmpty) };
        }
        let content_type = self.content_type.clone().ok_or(BadRequest::ContentTypeMissing)??;
        let stored = match content_type.is_json().then(|| json::split(&body)) {
            Some(Ok(stored)) if stored.is_empty() => Err(BadRequest::JsonEmptyArray),
            Some(split) => split.map(Bytes::from),
            None => Ok(body),
        };
        Ok(Payload { content_type: Some(content_type), stored })
    }

    /// Decides, given the stream and the state of the claim's producer. The order of the checks is that of section 5.2:
    /// closed, content type, producer, `Stream-Seq`, `Stream-Expected-Offset`; then `If-Match` and `If-None-Match`, which a
    /// producer's repetition has met before.
    #[must_use]
    pub fn decide(
        &self,
        head: Option<&StreamHead>,
        producer: Option<ProducerState>,
        payload: Payload,
        now_ms: u64,
    ) -> Verdict<Appended> {
        let head = match head.ok_or(Missing::NotFound).and_then(|head| head.usable(now_ms)) {
            Ok(head) => head,
            Err(missing) => return Verdict::Refuse(missing.into()),
        };
        let refuse = |conflict: Conflict| Verdict::Refuse(Refusal::Conflict(conflict));
        let unchanged = |producer| Appended {
            next: head.tail_offset(),
            closed: head.closed.is_some(),
            producer,
            added: false,
        };
        if let Some(closure) = &head.closed {
            let repeats_closing = self.claim.is_some() && self.claim == closure.by;
            let closes_only = self.close && self.claim.is_none() && payload.content_type.is_none();
            if !repeats_closing && !closes_only {
                return refuse(Conflict::StreamClosed { tail: head.tail_offset() });
            }
            return match self.precondition.check(Some(head)) {
                Err(failed) if !repeats_closing => refuse(failed),
                _ => Verdict::Repeat(unchanged(producer)),
            };
        }
        if payload.content_type.is_some_and(|content_type| !content_type.matches(&head.content_type)) {
            return refuse(Conflict::ContentTypeMismatch);
        }
        let bytes = match payload.stored {
            Ok(bytes) => bytes,
            Err(refusal) => return Verdict::Refuse(refusal.into()),
        };
        let accepted = match self.claim.as_ref().map(|claim| producer::judge(producer, claim)).transpose() {
            Ok(Some(Judgement::Duplicate(state))) => return Verdict::Repeat(unchanged(Some(state))),
            Ok(Some(Judgement::Accept(state))) => Some(state),
            Ok(None) => None,
            Err(conflict) => return refuse(conflict),
        };
        if self.seq.is_some() && self.seq <= head.seq_last {
            return refuse(Conflict::SeqRegression { tail: head.tail_offset() });
        }
        if self.expected.is_some_and(|expected| head.position(expected) != Ok(head.tail)) {
            return refuse(Conflict::ExpectedOffset { tail: head.tail_offset() });
        }
        if let Err(failed) = self.precondition.check(Some(head)) {
            return refuse(failed);
        }
        let added = !bytes.is_empty();
        let mut after = head.changed(now_ms);
        let Some(tail) = Offset::position_after(head.tail, &bytes) else {
            return Verdict::Refuse(Unavailable::StorageFull.into());
        };
        after.tail = tail;
        after.seq_last = self.seq.clone().or(after.seq_last);
        after.closed = self.close.then(|| Closure { by: self.claim.clone() });
        let ack = Appended { next: after.tail_offset(), closed: self.close, producer: accepted, added };
        let producer = self.claim.as_ref().map(|claim| claim.id.clone()).zip(accepted);
        Verdict::Commit(Change { head: after, bytes, producer }, ack)
    }

    /// Returns the response.
    #[must_use]
    pub fn respond(&self, ack: &Appended) -> Response {
        // Producers distinguish new data (200) from a repetition or a mere closure (204); nobody else needs to.
        let status = if ack.added && self.claim.is_some() { StatusCode::OK } else { StatusCode::NO_CONTENT };
        let mut head = ResponseHead::new(status);
        head.headers.insert(names::STREAM_NEXT_OFFSET, offset_value(ack.next));
        head.closed(ack.closed);
        if let Some(state) = ack.producer.filter(|_| self.claim.is_some()) {
            head.headers.insert(names::PRODUCER_EPOCH, HeaderValue::from(state.epoch));
            head.headers.insert(names::PRODUCER_SEQ, HeaderValue::from(state.seq_last));
        }
        head.into()
    }
}

fn parse_expected(text: &str) -> Result<ReadFrom, BadRequest> {
    match ReadFrom::parse(text) {
        Ok(expected @ (ReadFrom::Start | ReadFrom::At(_))) => Ok(expected),
        Ok(ReadFrom::Now) | Err(_) => Err(BadRequest::ExpectedOffsetMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        request::{Request, tests::parse_with},
        stream::tests::head,
    };

    const TEXT: (&str, &str) = ("content-type", "text/plain");
    const CLOSE: (&str, &str) = ("stream-closed", "true");
    const BY_P: [(&str, &str); 3] = [("producer-id", "p"), ("producer-epoch", "0"), ("producer-seq", "1")];

    fn append(headers: &[(&'static str, &'static str)]) -> Append {
        match parse_with("POST", headers) {
            Ok(Request::Append(append)) => append,
            other => panic!("{other:?}"),
        }
    }

    fn verdict(
        stream: &StreamHead,
        producer: Option<ProducerState>,
        append: &Append,
        body: &'static str,
    ) -> Verdict<Appended> {
        let payload = append.prepare(Bytes::from_static(body.as_bytes())).unwrap();
        append.decide(Some(stream), producer, payload, 5_000)
    }

    fn refusal(stream: &StreamHead, append: &Append, body: &'static str) -> Refusal {
        match verdict(stream, None, append, body) {
            Verdict::Refuse(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn closed_by(claim: Option<Claim>) -> StreamHead {
        StreamHead { tail: 9, closed: Some(Closure { by: claim }), ..head(1) }
    }

    #[test]
    fn an_append_is_one_change_with_all_that_it_alters() {
        let request = append(&[TEXT, CLOSE, ("stream-seq", "7"), BY_P[0], BY_P[1], BY_P[2]]);
        let before = StreamHead { tail: 4, seq_last: Some((*b"5").into()), ..head(1) };
        let state = ProducerState { epoch: 0, seq_last: 0 };
        let Verdict::Commit(change, ack) = verdict(&before, Some(state), &request, "hello") else { panic!() };
        assert_eq!((change.head.tail, change.head.version, change.head.changed_ms), (9, 2, 5_000));
        assert_eq!(change.bytes, "hello");
        assert_eq!(change.head.seq_last.as_deref(), Some(&b"7"[..]));
        assert_eq!(change.head.closed, Some(Closure { by: request.claim.clone() }));
        assert_eq!(change.producer.unwrap().1, ProducerState { epoch: 0, seq_last: 1 });
        assert_eq!((ack.next.position, ack.closed, ack.added), (9, true, true));
        assert_eq!(request.respond(&ack).head.status, StatusCode::OK);
    }

    #[test]
    fn plain_appends_answer_204_with_the_tail() {
        let request = append(&[TEXT]);
        let Verdict::Commit(_, ack) = verdict(&head(1), None, &request, "hello") else { panic!() };
        let response = request.respond(&ack).head;
        assert_eq!(response.status, StatusCode::NO_CONTENT);
        assert_eq!(response.headers[names::STREAM_NEXT_OFFSET], "0000000000000001_0000000000000005");
        assert!(!response.headers.contains_key(names::STREAM_CLOSED));
    }

    #[test]
    fn closed_comes_before_content_type_producer_and_seq() {
        let stream = StreamHead { seq_last: Some((*b"9").into()), ..closed_by(None) };
        let tail = stream.tail_offset();
        let requests = [
            append(&[TEXT]),
            append(&[TEXT, CLOSE]),
            append(&[("content-type", "image/png")]),
            append(&[TEXT, ("stream-seq", "1")]),
            append(&[TEXT, BY_P[0], BY_P[1], BY_P[2]]),
        ];
        for request in requests {
            assert_eq!(
                refusal(&stream, &request, "x"),
                Conflict::StreamClosed { tail }.into(),
                "{request:?}"
            );
        }
    }

    #[test]
    fn closing_again_succeeds_only_for_who_closed_and_for_who_only_closes() {
        let by_p = append(&[TEXT, CLOSE, BY_P[0], BY_P[1], BY_P[2]]);
        let stream = closed_by(by_p.claim.clone());
        assert!(
            matches!(verdict(&stream, None, &by_p, "x"), Verdict::Repeat(_)),
            "closing_append_retried_by_same_tuple"
        );
        assert!(matches!(verdict(&stream, None, &append(&[CLOSE]), ""), Verdict::Repeat(_)));
        let other = append(&[TEXT, CLOSE, BY_P[0], BY_P[1], ("producer-seq", "2")]);
        assert!(matches!(verdict(&stream, None, &other, "x"), Verdict::Refuse(_)));
        assert!(matches!(verdict(&stream, None, &other, ""), Verdict::Refuse(_)));
    }

    #[test]
    fn duplicates_answer_with_the_highest_seq_and_change_nothing() {
        let request = append(&[TEXT, ("stream-seq", "1"), BY_P[0], BY_P[1], BY_P[2]]);
        let stream = StreamHead { seq_last: Some((*b"9").into()), ..head(1) };
        let state = ProducerState { epoch: 0, seq_last: 5 };
        let Verdict::Repeat(ack) = verdict(&stream, Some(state), &request, "x") else { panic!() };
        let response = request.respond(&ack).head;
        assert_eq!(
            (response.status, &response.headers[names::PRODUCER_SEQ]),
            (StatusCode::NO_CONTENT, &5.into())
        );
    }

    #[test]
    fn stream_seq_is_compared_byte_by_byte() {
        let stream = |last: &[u8]| StreamHead { seq_last: Some(last.into()), ..head(1) };
        for (last, seq) in [("2", "10"), ("001", "001"), ("a", "B"), ("b", "")] {
            let request = Append { seq: Some(seq.as_bytes().into()), ..append(&[TEXT]) };
            assert_eq!(
                refusal(&stream(last.as_bytes()), &request, "x"),
                Conflict::SeqRegression { tail: stream(b"").tail_offset() }.into(),
                "{last} {seq}"
            );
        }
        let request = append(&[TEXT, ("stream-seq", "10")]);
        assert!(matches!(verdict(&stream(b"09"), None, &request, "x"), Verdict::Commit(..)));
    }

    #[test]
    fn an_expected_offset_is_the_tail_or_a_conflict() {
        let stream = StreamHead { tail: 5, ..head(1) };
        let tail = stream.tail_offset();
        let conflict = || Refusal::from(Conflict::ExpectedOffset { tail });
        let request = |expected| append(&[TEXT, ("stream-expected-offset", expected)]);
        for (stream, expected, is_good) in [
            (&stream, "0000000000000001_0000000000000005", true),
            (&stream, "0000000000000001_0000000000000004", false),
            (&stream, "0000000000000001_0000000000000006", false),
            (&stream, "0000000000000002_0000000000000005", false),
            (&stream, "-1", false),
        ] {
            match verdict(stream, None, &request(expected), "x") {
                Verdict::Commit(change, _) => assert!(is_good && change.head.tail == 6, "{expected}"),
                Verdict::Refuse(refusal) => {
                    assert!(!is_good && refusal == conflict(), "{expected} {refusal}");
                }
                Verdict::Repeat(_) => panic!("{expected}"),
            }
        }
        for empty in ["-1", "0000000000000000_0000000000000000", "0000000000000001_0000000000000000"] {
            assert!(matches!(verdict(&head(1), None, &request(empty), "x"), Verdict::Commit(..)), "{empty}");
        }
        for malformed in ["now", "", "5", "1_5", "x"] {
            let parsed = parse_with("POST", &[TEXT, ("stream-expected-offset", malformed)]);
            assert_eq!(parsed.unwrap_err(), BadRequest::ExpectedOffsetMalformed.into(), "{malformed}");
        }
        // Closed, repeated and out of sequence come first.
        let with = |more: &[(&'static str, &'static str)]| {
            append(&[&[TEXT, ("stream-expected-offset", "-1")], more].concat())
        };
        assert_eq!(
            refusal(&closed_by(None), &with(&[]), "x"),
            Conflict::StreamClosed { tail: closed_by(None).tail_offset() }.into()
        );
        let repeated = verdict(&stream, Some(ProducerState { epoch: 0, seq_last: 1 }), &with(&BY_P), "x");
        assert!(matches!(repeated, Verdict::Repeat(_)));
        let seq = StreamHead { seq_last: Some((*b"9").into()), ..stream.clone() };
        assert_eq!(
            refusal(&seq, &with(&[("stream-seq", "1")]), "x"),
            Conflict::SeqRegression { tail }.into()
        );
        assert_eq!(refusal(&seq, &with(&[("stream-seq", "99")]), "x"), conflict());
    }

    #[test]
    fn other_refusals() {
        assert_eq!(
            refusal(&head(1), &append(&[("content-type", "application/json")]), "{}"),
            Conflict::ContentTypeMismatch.into()
        );
        let gap = append(&[TEXT, BY_P[0], BY_P[1], BY_P[2]]);
        assert_eq!(refusal(&head(1), &gap, "x"), Conflict::ProducerGap { expected: 0, received: 1 }.into());
        let full = StreamHead { tail: Offset::POSITION_MAX, ..head(1) };
        assert_eq!(refusal(&full, &append(&[TEXT]), "x"), Unavailable::StorageFull.into());
        let payload = append(&[TEXT]).prepare(Bytes::from_static(b"x")).unwrap();
        assert_eq!(append(&[TEXT]).decide(None, None, payload, 0), Verdict::Refuse(Missing::NotFound.into()));
    }

    #[test]
    fn bodies_are_judged_by_what_they_say_they_are() {
        let prepared = |headers: &[(&'static str, &'static str)], body: &'static str| {
            append(headers)
                .prepare(Bytes::from_static(body.as_bytes()))
                .and_then(|payload| payload.stored)
                .map_err(|refusal| refusal.problem().0)
        };
        let json = ("content-type", "application/json");
        assert_eq!(prepared(&[TEXT], "x"), Ok(Bytes::from_static(b"x")));
        assert_eq!(prepared(&[json], "[1, 2]"), Ok(Bytes::from_static(b"1,2,")));
        assert_eq!(
            prepared(&[CLOSE, ("content-type", "///")], ""),
            Ok(Bytes::new()),
            "close-only ignores the type"
        );
        for (headers, body) in [
            (&[TEXT][..], ""),
            (&[], "x"),
            (&[json], "[]"),
            (&[json, CLOSE], "[]"),
            (&[json], "{"),
            (&[("content-type", "/")], "x"),
        ] {
            assert_eq!(prepared(headers, body), Err(StatusCode::BAD_REQUEST), "{headers:?} {body:?}");
        }
    }

    #[test]
    fn repeated_and_incomplete_headers_are_refused() {
        let refused = |headers: &[(&'static str, &'static str)]| {
            parse_with("POST", headers).err().map(|refusal| refusal.respond().head.status)
        };
        let bad = Some(StatusCode::BAD_REQUEST);
        assert_eq!(refused(&[("stream-seq", "1"), ("stream-seq", "2")]), bad);
        assert_eq!(refused(&[TEXT, TEXT]), bad);
        assert_eq!(refused(&[BY_P[0]]), bad);
        assert_eq!(refused(&[("stream-seq", "")]), bad);
    }
}
