//! Requests whose outcome is recorded: the response, or that nobody can know because the server died.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use headwater_testkit::{Client, Request, Response};

use crate::offset::Offset;
use crate::payload::{self, Key};
use crate::registry::Registry;
use crate::report::Tally;
use crate::stream::{Existence, Tracked, Try};

/// The target of requests and the record of their outcomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) client: &'a Client,
    pub(crate) registry: &'a Registry,
    pub(crate) tally: &'a Tally,
    pub(crate) phase: &'a Phase,
    pub(crate) disk: Condition,
}

/// The condition of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Good,
    /// Full, or about to be: 507 is expected.
    Full,
    /// Failing: a change with response 500 may or may not have happened.
    Failing,
}

/// The phase of a round.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    is_over: AtomicBool,
    is_ending: AtomicBool,
}

impl Phase {
    /// Writers and readers come to an end.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// The server is being killed or asked to end: from now on answers may be missing.
    pub(crate) fn end_with_server(&self) {
        self.is_ending.store(true, Ordering::SeqCst);
        self.end();
    }
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Went {
    Well,
    /// There is no response, because there is no server any more.
    Lost,
    /// Refused: the server ends, or its disk is full.
    Refused,
}

/// The options of an append.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manner {
    pub(crate) producer: Option<Claim>,
    pub(crate) stream_seq: Option<u32>,
    pub(crate) closes: bool,
}

/// An idempotent producer's name for a request.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) id: String,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
}

impl Claim {
    fn on(&self, request: Request) -> Request {
        request
            .header("Producer-Id", &self.id)
            .header("Producer-Epoch", self.epoch)
            .header("Producer-Seq", self.seq)
    }
}

impl Scene<'_> {
    /// `None` if nobody knows what came of it: the server is gone, or its disk failed. A server that lives answers.
    pub(crate) fn exchange(&self, stream: &Tracked, request: &Request) -> Result<Option<Response>> {
        let answered = self.send(request);
        answered.map_err(|what| stream.broken("a server that runs answers", what).into())
    }

    /// Like [`Self::exchange`], with the failure in words as the error.
    pub(crate) fn send(&self, request: &Request) -> Result<Option<Response>, String> {
        let may_fail =
            self.disk == Condition::Failing && !matches!(&*request.method, "GET" | "HEAD" | "OPTIONS");
        match self.client.send(request) {
            Ok(response) => Ok(Some(response).filter(|response| !(may_fail && response.status == 500))),
            Err(_) if self.is_ending() => Ok(None),
            Err(error) => Err(format!("{error}, after {request}")),
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.phase.is_ending.load(Ordering::SeqCst)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase.is_over.load(Ordering::SeqCst)
    }

    /// Whether this scene expects the response as a refusal that changes nothing.
    pub(crate) fn expects_refusal(&self, response: &Response) -> bool {
        let is_full = response.status == 507 && self.disk == Condition::Full;
        self.tally.full.add(usize::from(is_full));
        is_full || (response.status == 503 && self.is_ending())
    }
}

/// Creates a stream, or makes sure that it is there.
pub(crate) fn create(
    scene: &Scene<'_>,
    stream: &Tracked,
    headers: &[(&'static str, String)],
) -> Result<(Went, Option<Offset>)> {
    let before = {
        let mut state = stream.state();
        let before = state.existence;
        if before == Existence::NotYet {
            state.existence = Existence::MaybeThere;
        }
        before
    };
    let mut request = Request::new("PUT", &stream.name).body(Vec::new());
    if !headers.iter().any(|(name, _)| *name == "Stream-Forked-From") {
        request = request.header("Content-Type", stream.form.content_type());
    }
    request.headers.extend(headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let Some(response) = scene.exchange(stream, &request)? else { return Ok((Went::Lost, None)) };
    if scene.expects_refusal(&response) {
        if before == Existence::NotYet {
            stream.state().existence = Existence::NotYet;
        }
        return Ok((Went::Refused, None));
    }
    match (response.status, before) {
        (201, Existence::NotYet | Existence::MaybeThere)
        | (200, Existence::MaybeThere | Existence::There) => {}
        _ => bail!(stream.broken("a creation is done once", unexpected(&request, &response, before))),
    }
    let Some(next) = Offset::next(&response) else {
        bail!(
            stream.broken("a creation says where the stream ends", unexpected(&request, &response, before))
        );
    };
    let mut state = stream.state();
    state.existence = Existence::There;
    if state.source.is_none() {
        if state.incarnation != 0 && state.incarnation != next.incarnation {
            bail!(stream.broken("a stream keeps its incarnation", unexpected(&request, &response, before)));
        }
        state.incarnation = next.incarnation;
    }
    Ok((Went::Well, Some(next)))
}

/// Appends, for the first time or again.
pub(crate) fn append(scene: &Scene<'_>, stream: &Tracked, key: Key, manner: &Manner) -> Result<Went> {
    let attempt = stream.begin(key, manner.closes);
    let body = payload::body(stream.form, stream.seed, key);
    let bytes = body.len();
    let mut request =
        Request::new("POST", &stream.name).header("Content-Type", stream.form.content_type()).body(body);
    if let Some(claim) = &manner.producer {
        request = claim.on(request);
    }
    if let Some(seq) = manner.stream_seq {
        request = request.header("Stream-Seq", format_args!("{seq:010}"));
    }
    if manner.closes {
        request = request.header("Stream-Closed", "true");
    }
    let Some(response) = scene.exchange(stream, &request)? else {
        stream.lost(key);
        return Ok(Went::Lost);
    };
    if scene.expects_refusal(&response) {
        if attempt == Try::New {
            stream.refused(key);
        }
        return Ok(Went::Refused);
    }
    let is_new = match (response.status, &manner.producer, manner.stream_seq) {
        (200, Some(_), _) | (204, None, _) => true,
        // A producer's repetition, and a Stream-Seq that was there already.
        (204, Some(_), _) | (409, None, Some(_)) => false,
        _ => bail!(stream.broken("an append is taken", unexpected(&request, &response, attempt))),
    };
    match (attempt, is_new) {
        (Try::New, false) => {
            bail!(stream.broken("what is new is no repetition", unexpected(&request, &response, attempt)))
        }
        (Try::Repetition, true) => {
            bail!(
                stream.broken("a repetition is not appended again", unexpected(&request, &response, attempt))
            )
        }
        _ => {}
    }
    if is_new {
        scene.tally.acknowledged.add(1);
        scene.tally.bytes.add(bytes);
    }
    let end = if is_new { Offset::next(&response) } else { None };
    if is_new && end.is_none() {
        bail!(stream.broken("an append says where it ends", unexpected(&request, &response, attempt)));
    }
    let was_lost = stream.acknowledged(key, end.as_ref())?;
    scene.tally.resolved.add(usize::from(was_lost));
    Ok(Went::Well)
}

/// Closes without a last append.
pub(crate) fn close(scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
    stream.state().close_asked = true;
    let request = Request::new("POST", &stream.name).header("Stream-Closed", "true").body(Vec::new());
    let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
    if scene.expects_refusal(&response) {
        return Ok(Went::Refused);
    }
    if response.status != 204 || !response.is_closed() {
        bail!(stream.broken("a close is taken", unexpected(&request, &response, "")));
    }
    stream.state().is_closed = true;
    Ok(Went::Well)
}

/// Deletes, for the first time or again.
pub(crate) fn delete(scene: &Scene<'_>, stream: &Tracked) -> Result<Went> {
    let before = std::mem::replace(&mut stream.state().existence, Existence::MaybeGone);
    let request = Request::new("DELETE", &stream.name);
    let Some(response) = scene.exchange(stream, &request)? else { return Ok(Went::Lost) };
    if scene.expects_refusal(&response) {
        stream.state().existence = before;
        return Ok(Went::Refused);
    }
    match (response.status, before) {
        (204, _) | (404 | 410, Existence::MaybeGone | Existence::MaybeThere | Existence::Gone) => {}
        _ => bail!(stream.broken("a deletion is taken", unexpected(&request, &response, before))),
    }
    stream.state().existence = Existence::Gone;
    Ok(Went::Well)
}

/// Whether the stream is there and whether it is closed; `None` if the server is gone.
pub(crate) fn head(scene: &Scene<'_>, stream: &Tracked) -> Result<Option<Response>> {
    let request = Request::new("HEAD", &stream.name);
    let response = scene.exchange(stream, &request)?;
    Ok(response.filter(|response| !scene.expects_refusal(response)))
}

fn unexpected(request: &Request, response: &Response, before: impl std::fmt::Debug) -> String {
    format!("{request} was answered with {response}; before it: {before:?}")
}
