//! A server under comparison, and one conversation with it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use conformance::answer::Answer;
use conformance::attempt;
use conformance::raw::{Connection, Framing, PATIENCE, Piece};

use crate::script::Step;

/// An event stream that is not up to date and silent for so long has nothing to say.
const QUIET: Duration = Duration::from_secs(1);

/// How long an answer may take to begin. A machine that does other things too may hold all servers up for seconds.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// What is said of a server that ends a connection instead of answering.
const NO_ANSWER: &str = "it ended the connection without an answer";

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

/// What came of a request.
pub(crate) type Outcome = Result<Answer, String>;

/// A conversation with a server, on one connection as long as that is good.
pub(crate) struct Line<'t> {
    target: &'t Target,
    /// With the time of its last answer.
    connection: Option<(Connection, Instant)>,
    /// What was sent on a connection that was used before: it may have ended meanwhile.
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
        let connection = attempt(|| {
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

    /// The answer to what was sent last.
    pub(crate) fn receive(&mut self, step: &Step) -> Outcome {
        let (mut connection, _) = self.connection.take().ok_or("it takes no connection")?;
        let received = attempt(|| receive(&mut connection, step))?;
        if let (Err(error), Some(request)) = (&received, self.to_repeat.take())
            && error == NO_ANSWER
        {
            self.send(&request);
            return self.receive(step);
        }
        let (answer, is_whole) = received?;
        if is_whole && is_reusable(step, &answer) {
            self.connection = Some((connection, Instant::now()));
        }
        Ok(answer)
    }
}

/// The final answer and whether it has come to its end.
fn receive(connection: &mut Connection, step: &Step) -> Result<(Answer, bool), String> {
    // What comes of this is seen by what reads the head.
    let _ = connection.wait(Instant::now() + BEGIN_TIMEOUT);
    let mut answer = loop {
        let head = connection.try_head().ok_or(NO_ANSWER)?;
        // 100 Continue is no answer yet.
        if head.status >= 200 {
            break head;
        }
    };
    // The connection cuts long requests short in what it remembers of them, and forgets them at a 100.
    step.method.clone_into(&mut answer.request);
    answer.request.push(' ');
    let mut framing = Framing::of(&answer);
    let is_events = is_events(&answer);
    let mut deadline = Instant::now() + PATIENCE;
    loop {
        match framing.piece(connection, deadline) {
            Piece::Data(bytes) => answer.body.extend_from_slice(&bytes),
            Piece::End => return Ok((answer, framing != Framing::UntilClose)),
            Piece::Cut => return Err(format!("it cut the connection inside of\n{answer}")),
            Piece::Nothing if is_events && last_control(&answer.body).is_some() => {
                return Ok((answer, false));
            }
            Piece::Nothing => return Err(format!("nothing more comes after\n{answer}")),
        }
        match last_control(&answer.body).filter(|_| is_events) {
            // The end follows.
            Some(control) if control.contains("streamClosed") => {}
            Some(control) if control.contains("\"upToDate\":true") => return Ok((answer, false)),
            // More is to come, or the rest is half a character.
            Some(_) => deadline = Instant::now() + QUIET,
            None => deadline = Instant::now() + PATIENCE,
        }
    }
}

/// Whether the answer is an event stream.
pub(crate) fn is_events(answer: &Answer) -> bool {
    answer.headers("Content-Type").first() == Some(&"text/event-stream")
}

/// The last event, if it is a control event.
fn last_control(events: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(events);
    let last = text.strip_suffix("\n\n")?.rsplit("\n\n").next()?;
    last.starts_with("event: control\n").then(|| last.to_owned())
}

fn is_reusable(step: &Step, answer: &Answer) -> bool {
    let closes = answer.list("Connection").iter().any(|option| option == "close");
    // A server may end the connection after a refusal, and not every one says so.
    let was_told = step.says("Connection", |value| value.contains("close"));
    !closes && !was_told && answer.status < 400 && !step.form.is_http_1_0
}

/// How long one who waits is given to begin with it.
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
        let control = "event: control\ndata:{\"upToDate\":true}";
        let last = |events: String| last_control(events.as_bytes());
        assert_eq!(last(format!("event: data\ndata:x\n\n{control}\n\n")).as_deref(), Some(control));
        assert_eq!(last(format!("{control}\n\nevent: data\ndata:event: control\n\n")), None);
        assert_eq!(last(format!("{control}\n")), None);
    }
}
