//! Catch-up reads: one response, or everything up to the tail.

use anyhow::{Result, bail};
use headwater_testkit::{Request, Response};

use crate::offset::Offset;
use crate::payload;
use crate::requests::Scene;
use crate::stream::{Existence, Tracked};

/// The response to a read, parsed.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) from: usize,
    pub(crate) stored: Vec<u8>,
    pub(crate) next: Offset,
    pub(crate) up_to_date: bool,
    pub(crate) closed: bool,
    pub(crate) tag: Option<String>,
}

/// The outcome of a read.
#[derive(Debug)]
pub(crate) enum Read {
    Piece(Piece),
    /// The name belongs to another incarnation or none: the status.
    Other(u16),
    /// The server is gone, or ends.
    Lost,
}

/// A stream from its beginning to its tail.
#[derive(Debug, Default)]
pub(crate) struct Whole {
    pub(crate) stored: Vec<u8>,
    pub(crate) tail: Option<Offset>,
    pub(crate) closed: bool,
    /// The reads that got ranges which don't change any more, with their ETags.
    pub(crate) tags: Vec<(String, String)>,
}

/// Reads once, from an offset that the stream gave, or from the beginning.
pub(crate) fn read(scene: &Scene<'_>, stream: &Tracked, from: Option<&Offset>, live: &str) -> Result<Read> {
    let (floor, before) = {
        let state = stream.state();
        (state.acknowledged_end, state.existence)
    };
    let request = Request::new("GET", target(stream, from, live));
    let Some(response) = scene.exchange(stream, &request)? else { return Ok(Read::Lost) };
    if response.status == 503 && scene.is_ending() {
        return Ok(Read::Lost);
    }
    // A source that is deleted answers 410 for as long as it has forks.
    if matches!(response.status, 404 | 410)
        && (before != Existence::There || stream.existence() != Existence::There)
    {
        return Ok(Read::Other(response.status));
    }
    let piece = understand(stream, from, &request, &response)?;
    if !is_own(stream, &piece.next)? {
        return Ok(Read::Other(200));
    }
    if before == Existence::Gone {
        bail!(stream.broken("deleted stays deleted", format!("{request} was answered with its bytes")));
    }
    if piece.up_to_date && piece.next.position < floor {
        let what = format!("{request} says that {} is the tail, after {floor} was acknowledged", piece.next);
        bail!(stream.broken("a read after an acknowledgement has what was acknowledged", what));
    }
    Ok(Read::Piece(piece))
}

/// Whether a response belongs to this incarnation and not to a later one.
pub(crate) fn is_own(stream: &Tracked, next: &Offset) -> Result<bool> {
    let state = stream.state();
    if state.source.is_some() || state.incarnation == 0 || next.incarnation == state.incarnation {
        return Ok(true);
    }
    if state.existence == Existence::There {
        bail!(
            stream
                .broken("a stream keeps its incarnation", format!("{next} instead of {}", state.incarnation))
        );
    }
    Ok(false)
}

fn understand(
    stream: &Tracked,
    from: Option<&Offset>,
    request: &Request,
    response: &Response,
) -> Result<Piece> {
    let (Some(next), 200 | 204) = (Offset::next(response), response.status) else {
        bail!(stream.broken("a stream that is there can be read", format!("{request}: {response}")));
    };
    let from = from.map_or(0, |offset| offset.position);
    let stored = match response.status {
        204 => Some(Vec::new()),
        _ => payload::stored_form(stream.form, &response.body),
    };
    let Some(stored) = stored else {
        bail!(stream.broken("a read of a JSON stream is an array", format!("{request}: {response}")));
    };
    Ok(Piece {
        from,
        stored,
        next,
        up_to_date: response.is_up_to_date(),
        closed: response.is_closed(),
        tag: response.header("ETag").map(str::to_owned),
    })
}

/// Reads everything; `None` if the server is gone.
pub(crate) fn read_all(scene: &Scene<'_>, stream: &Tracked) -> Result<Result<Whole, Option<u16>>> {
    let mut whole = Whole::default();
    loop {
        let piece = match read(scene, stream, whole.tail.as_ref(), "")? {
            Read::Piece(piece) => piece,
            Read::Other(status) => return Ok(Err(Some(status))),
            Read::Lost => return Ok(Err(None)),
        };
        if piece.from + piece.stored.len() != piece.next.position {
            let what = format!(
                "{} bytes from {} on, and the next offset is {}",
                piece.stored.len(),
                piece.from,
                piece.next
            );
            bail!(stream.broken("a response's bytes and its offset agree", what));
        }
        whole.stored.extend_from_slice(&piece.stored);
        whole.closed = piece.closed;
        if let Some(tag) = piece.tag.filter(|_| !piece.up_to_date || piece.closed) {
            whole.tags.push((target(stream, whole.tail.as_ref(), ""), tag));
        }
        let is_stuck = piece.stored.is_empty();
        whole.tail = Some(piece.next);
        if piece.up_to_date {
            return Ok(Ok(whole));
        }
        if is_stuck {
            bail!(
                stream.broken("a read that doesn't reach the tail has bytes", format!("at {:?}", whole.tail))
            );
        }
    }
}

/// The stream's name with a query, as a request has it.
pub(crate) fn target(stream: &Tracked, from: Option<&Offset>, live: &str) -> String {
    let offset = from.map_or("-1", |offset| &offset.text);
    let live = if live.is_empty() { String::new() } else { format!("&live={live}") };
    format!("{}?offset={offset}{live}", stream.name)
}
