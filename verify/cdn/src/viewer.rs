//! A viewer, which reads as the protocol's clients do: history first, then live, echoing the cursor.
//!
//! It checks all that it is given against the ledger: every message once, in order, none of another stream.

mod place;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use headwater_bench::http::{self, Begun, Connection};
use headwater_testkit::sse::{Control, Parser};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::ledger::{self, Incarnations};
use crate::tally::Tally;
use place::Place;

/// How a viewer reads at the tail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    LongPoll,
    EventStream,
    /// Asks again after a pause.
    Polling(Duration),
}

/// The pause before another attempt; the official client's first one.
const RETRY: Duration = Duration::from_millis(100);
const ATTEMPTS_MAX: u32 = 100;
/// Longer than anything that a server holds back.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// One viewer.
pub(crate) struct Viewer {
    pub(crate) number: usize,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) mode: Mode,
    pub(crate) incarnations: Incarnations,
    pub(crate) tally: Rc<RefCell<Tally>>,
    /// Counts up when all viewers lose their connections.
    pub(crate) storms: watch::Receiver<u32>,
}

/// The step after a response.
enum Next {
    Go,
    /// The stream is closed and all of it was read.
    Done,
    /// The incarnation has ended: start over.
    Again,
}

impl Viewer {
    /// Reads until the stream is closed.
    pub(crate) async fn run(mut self) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        let mut place = Place::new();
        let mut failures = 0;
        loop {
            let mut storms = self.storms.clone();
            storms.mark_unchanged();
            let step = async {
                timeout(ANSWER_TIMEOUT, self.step(&mut connection, &mut place)).await.unwrap_or_else(|_| {
                    bail!("no response within {} s", ANSWER_TIMEOUT.as_secs());
                })
            };
            let next = tokio::select! {
                next = step => next,
                _ = storms.changed() => {
                    place.forget_partial();
                    connection = Connection::open(self.address).await?;
                    continue;
                }
            };
            match next {
                Ok(Next::Done) => break,
                Ok(Next::Go) => failures = 0,
                Ok(Next::Again) => {
                    place = Place::new();
                    sleep(RETRY).await;
                }
                Err(error) => {
                    failures += 1;
                    self.tally.borrow_mut().broken += 1;
                    if failures > ATTEMPTS_MAX {
                        return Err(error);
                    }
                    place.forget_partial();
                    sleep(RETRY).await;
                    if let Ok(fresh) = Connection::open(self.address).await {
                        connection = fresh;
                    }
                }
            }
        }
        let read = place.messages;
        let all = place.ledger.map_or(0, |ledger| ledger.borrow().messages());
        let mut tally = self.tally.borrow_mut();
        if read != all {
            tally.wrong(|| {
                format!("viewer {} was told of the end after {read} of {all} messages", self.number)
            });
        }
        tally.finished += 1;
        Ok(())
    }

    /// Sends one request and handles the response.
    async fn step(&mut self, connection: &mut Connection, place: &mut Place) -> Result<Next> {
        let request = self.request(place);
        if place.live.is_some() && self.mode == Mode::EventStream {
            return self.events(connection, place, &request).await;
        }
        let response = connection.exchange(&request).await?;
        let header = |name| response.header(name).ok();
        self.tally.borrow_mut().response(response.status);
        match response.status {
            200 | 204 => {
                self.tally.borrow_mut().bytes += response.body.len() as u64;
                if place.ledger.is_none() {
                    place.ledger = header("stream-next-offset")
                        .and_then(|offset| ledger::of_offset(&self.incarnations, offset));
                }
                place.read(response.body, self.number, &mut self.tally.borrow_mut());
                let told = Told {
                    next: header("stream-next-offset"),
                    cursor: header("stream-cursor"),
                    up_to_date: header("stream-up-to-date").is_some(),
                    closed: header("stream-closed").is_some(),
                };
                let next = self.told(place, &told);
                if let (Next::Go, Mode::Polling(pause), true) = (&next, self.mode, told.up_to_date) {
                    sleep(pause).await;
                }
                Ok(next)
            }
            status => self.refused(status, place).await,
        }
    }

    /// An event stream to its end.
    async fn events(
        &mut self,
        connection: &mut Connection,
        place: &mut Place,
        request: &[u8],
    ) -> Result<Next> {
        let mut begun: Begun = connection.begin(request).await?;
        let status = begun.status();
        self.tally.borrow_mut().response(status);
        if status != 200 {
            // Another connection is simpler than reading what it says.
            *connection = Connection::open(self.address).await?;
            return self.refused(status, place).await;
        }
        let mut events = Parser::default();
        loop {
            let mut received = Vec::new();
            let more =
                connection.read_some(&mut begun, &mut |bytes| received.extend_from_slice(bytes)).await?;
            if !more {
                return Ok(Next::Go);
            }
            self.tally.borrow_mut().bytes += received.len() as u64;
            events.push(&received);
            while let Some(event) = events.next_event()? {
                if event.kind == "data" {
                    place.read(event.data.as_bytes(), self.number, &mut self.tally.borrow_mut());
                } else if let Some(control) = Control::parse(&event) {
                    let cursor = control.cursor.map(|cursor| cursor.to_string());
                    let told = Told {
                        next: Some(&control.next_offset),
                        cursor: cursor.as_deref(),
                        up_to_date: control.up_to_date,
                        closed: control.closed,
                    };
                    if let Next::Done = self.told(place, &told) {
                        return Ok(Next::Done);
                    }
                }
            }
        }
    }

    /// Applies the position of a response.
    fn told(&self, place: &mut Place, told: &Told<'_>) -> Next {
        let mut tally = self.tally.borrow_mut();
        let (Some(next), Some(ledger)) = (told.next, place.ledger.clone()) else {
            tally.wrong(|| format!("viewer {} got a response without an offset of this stream", self.number));
            return Next::Again;
        };
        let ledger = ledger.borrow();
        if next < &*place.offset && place.offset != "-1" {
            tally.wrong(|| format!("viewer {} was sent back from {} to {next}", self.number, place.offset));
        }
        next.clone_into(&mut place.offset);
        place.cursor = told.cursor.map(str::to_owned);
        if told.closed {
            if let Some(closed) = ledger.closed() {
                tally.closure_learnt.push(closed.elapsed());
            }
            return Next::Done;
        }
        if told.up_to_date {
            tally.up_to_date(ledger.stale(next));
            place.live.get_or_insert_with(Instant::now);
        }
        Next::Go
    }

    async fn refused(&self, status: u16, place: &mut Place) -> Result<Next> {
        match status {
            404 | 410 if self.is_over(place) => Ok(Next::Again),
            429 | 500 | 502..=504 => {
                self.tally.borrow_mut().unavailable += 1;
                place.forget_partial();
                sleep(RETRY).await;
                Ok(Next::Go)
            }
            status => {
                self.tally.borrow_mut().wrong(|| format!("viewer {} was answered {status}", self.number));
                bail!("answered {status}")
            }
        }
    }

    /// Whether the incarnation being read has ended, or reading began between two incarnations.
    fn is_over(&self, place: &Place) -> bool {
        let first = || self.incarnations.borrow().first().cloned();
        place.ledger.clone().or_else(first).is_some_and(|ledger| ledger.borrow().is_gone())
    }

    fn request(&self, place: &Place) -> Vec<u8> {
        let mut query = vec![("offset", &*place.offset)];
        match self.mode {
            Mode::LongPoll if place.live.is_some() => query.push(("live", "long-poll")),
            Mode::EventStream if place.live.is_some() => query.push(("live", "sse")),
            _ => {}
        }
        if let Some(cursor) = place.cursor.as_deref().filter(|_| query.len() > 1) {
            query.push(("cursor", cursor));
        }
        // Some clients sort their parameters, others don't: they must share all the same.
        if self.number.is_multiple_of(2) {
            query.sort_unstable();
        }
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        http::request("GET", &format!("{}?{}", self.path, query.join("&")), &headers, b"")
    }
}

/// The position that a response gives its reader.
struct Told<'a> {
    next: Option<&'a str>,
    cursor: Option<&'a str>,
    up_to_date: bool,
    closed: bool,
}
