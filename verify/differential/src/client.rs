//! A server under comparison, and a connection to it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use headwater_testkit::connection::{Framing, PATIENCE, Piece};
use headwater_testkit::sse::{Control, Parser};
use headwater_testkit::{Connection, Response, panics};

use crate::script::Step;

/// An event stream that is not up to date and silent for so long has nothing to say.
const QUIET: Duration = Duration::from_secs(1);
/// How long an event stream is read at most.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(2);

/// The longest time until a response begins. A busy machine may delay all servers by seconds.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// The error for a server that ends a connection instead of responding.
const NO_ANSWER: &str = "it ended the connection without a response";

/// A connection that was idle for longer is not used again: a server may be about to end it.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A server, by its name and where it listens.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) authority: String,
}

impl Target {
    /// Reads `NAME=http://HOST:PORT`, with or without a path after it.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (name, url) = text.split_once('=').context("write it as NAME=URL")?;
        let rest = url.strip_prefix("http://").context("the URL begins with http://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        ensure!(authority.contains(':'), "the URL names no port");
        Ok(Self { name: name.to_owned(), authority: authority.to_owned() })
    }
}

/// The outcome of a request.
pub(crate) type Outcome = Result<Response, String>;

/// A conversation with a server, on one connection as long as that is good.
pub(crate) struct Line<'t> {
    target: &'t Target,
    /// With the time of its last response.
    connection: Option<(Connection, Instant)>,
    /// The request that was sent on a reused connection, which may have ended meanwhile.
    to_repeat: Option<Vec<u8>>,
}

impl<'t> Line<'t> {
    pub(crate) const fn new(target: &'t Target) -> Self {
        Self { target, connection: None, to_repeat: None }
    }

    /// Sends a request. What goes wrong is told by [`Self::receive`].
    pub(crate) fn send(&mut self, request: &[u8]) {
        let idle = self.connection.take().filter(|(_, since)| since.elapsed() < IDLE_MAX);
        self.to_repeat = idle.is_some().then(|| request.to_vec());
        let connection = panics::catch(|| {
            let mut connection = match idle {
                Some((connection, _)) => connection,
                None => Connection::open(&self.target.authority),
            };
            // A server may answer and go before it has read all that it doesn't want.
            let _ = connection.try_send(request);
            connection
        });
        self.connection = connection.ok().map(|connection| (connection, Instant::now()));
    }

    /// The response to what was sent last.
    pub(crate) fn receive(&mut self, step: &Step) -> Outcome {
        let (mut connection, _) = self.connection.take().ok_or("it takes no connection")?;
        let received = panics::catch(|| receive(&mut connection, step))?;
        if let (Err(error), Some(request)) = (&received, self.to_repeat.take())
            && error == NO_ANSWER
        {
            self.send(&request);
            return self.receive(step);
        }
        let (response, is_whole) = received?;
        if is_whole && is_reusable(step, &response) {
            self.connection = Some((connection, Instant::now()));
        }
        Ok(response)
    }
}

/// The final response and whether it has come to its end.
fn receive(connection: &mut Connection, step: &Step) -> Result<(Response, bool), String> {
    // The outcome is seen when the head is read.
    let _ = connection.wait(Instant::now() + BEGIN_TIMEOUT);
    let mut response = loop {
        let head = connection.try_head().ok_or(NO_ANSWER)?;
        // 100 Continue is no response yet.
        if head.status >= 200 {
            break head;
        }
    };
    // The connection cuts long requests short in what it remembers of them, and forgets them at a 100.
    step.method.clone_into(&mut response.request);
    response.request.push(' ');
    let mut framing = Framing::of(&response);
    let mut events = is_events(&response).then(Parser::default);
    // The last event, if it is a control event and nothing has come after it.
    let mut control = None;
    let mut deadline = Instant::now() + PATIENCE;
    // Some servers repeat control events for ever, in parts that never end with a whole one.
    let end = Instant::now() + EVENTS_TIMEOUT;
    loop {
        if events.is_some() && Instant::now() >= end {
            return Ok((response, false));
        }
        match framing.piece(connection, deadline) {
            Piece::Data(bytes) => {
                response.body.extend_from_slice(&bytes);
                if let Some(events) = &mut events {
                    control = last_control(events, &bytes)?;
                }
            }
            Piece::End => return Ok((response, framing != Framing::UntilClose)),
            Piece::Cut => return Err(format!("it cut the connection inside of\n{response}")),
            Piece::Nothing if control.is_some() => return Ok((response, false)),
            Piece::Nothing => return Err(format!("nothing more comes after\n{response}")),
        }
        match &control {
            // The end follows.
            Some(Control { closed: true, .. }) => {}
            Some(Control { up_to_date: true, .. }) => return Ok((response, false)),
            // More is to come, or the rest is half a character.
            Some(_) => deadline = Instant::now() + QUIET,
            None => deadline = Instant::now() + PATIENCE,
        }
    }
}

/// Whether the response is an event stream.
pub(crate) fn is_events(response: &Response) -> bool {
    response.headers("Content-Type").first() == Some(&"text/event-stream")
}

/// The last of the events that these bytes complete, if it is a control event without anything after it.
fn last_control(events: &mut Parser, bytes: &[u8]) -> Result<Option<Control>, String> {
    events.push(bytes);
    let mut last = None;
    while let Some(event) = events.next_event().map_err(|error| error.to_string())? {
        last = Some(event);
    }
    Ok(last.filter(|_| !events.is_inside_event()).as_ref().and_then(Control::parse))
}

fn is_reusable(step: &Step, response: &Response) -> bool {
    let closes = response.list("Connection").iter().any(|option| option == "close");
    // A server may end the connection after a refusal, and not every one says so.
    let was_told = step.says("Connection", |value| value.contains("close"));
    !closes && !was_told && response.status < 400 && !step.form.is_http_1_0
}

/// The head start of a live read before the request that is sent meanwhile.
pub(crate) const HEAD_START: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_name_and_a_url() {
        let target = Target::parse("hyper-mem=http://127.0.0.1:4437/v1/stream").ok();
        let parts = target.map(|target| (target.name, target.authority));
        assert_eq!(parts, Some(("hyper-mem".to_owned(), "127.0.0.1:4437".to_owned())));
        for wrong in ["hyper-mem", "a=https://x:1", "a=http://x"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_control_event_is_found() {
        let control = "event: control\ndata:{\"streamNextOffset\":\"1_2\",\"upToDate\":true}";
        let last = |events: String| {
            let control = last_control(&mut Parser::default(), events.as_bytes()).ok().flatten();
            control.map(|control| control.up_to_date)
        };
        assert_eq!(last(format!("event: data\ndata:x\n\n{control}\n\n")), Some(true));
        assert_eq!(last(format!("{control}\n\nevent: data\ndata:event: control\n\n")), None);
        assert_eq!(last(format!("{control}\n\nevent")), None);
        assert_eq!(last(format!("{control}\n")), None);
    }
}
