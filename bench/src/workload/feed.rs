//! A stream that gets a message every so often, and live readers of it who each must get every message once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, sleep, sleep_until};

use crate::message::{Moment, Scanner, Stamp};
use crate::recorder::Recorder;
use crate::trial::{Stop, path};
use headwater_bench::http::{self, Begun, Connection};

/// Text, so that an event stream carries messages as they are.
pub(super) const CONTENT_TYPE: &str = "text/plain";

/// The state that the writer and readers of a stream share.
#[derive(Clone)]
pub(super) struct Feed {
    stream: String,
    /// `tails[n]` is the offset after n messages.
    tails: Arc<Mutex<Vec<String>>>,
}

/// How readers follow a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Live {
    Sse,
    LongPoll,
}

impl Feed {
    /// A stream that has the tail now.
    pub(super) fn new(stream: &str, tail: String) -> Self {
        Self { stream: stream.to_owned(), tails: Arc::new(Mutex::new(vec![tail])) }
    }

    /// Appends a message at each multiple of `interval` after `first`, leaving out those that it is too late for,
    /// and a last one when it is told to stop.
    pub(super) async fn write(
        self,
        mut connection: Connection,
        first: Instant,
        interval: Duration,
        stop: Stop,
    ) -> Result<()> {
        let mut due = first;
        for sequence in 0.. {
            sleep_until(due).await;
            while due <= Instant::now() {
                due += interval;
            }
            let last = stop.is_set();
            let message = Stamp { sequence, last, sent: Moment::now() }.encode();
            let headers = [("Content-Type", CONTENT_TYPE)];
            let response =
                connection.exchange(&http::request("POST", &path(&self.stream), &headers, &message)).await?;
            response.expect(204)?;
            let tail = response.header("Stream-Next-Offset")?.to_owned();
            self.tails.lock().unwrap_or_else(PoisonError::into_inner).push(tail);
            if last {
                break;
            }
        }
        Ok(())
    }

    /// Asks for what comes next; the responses are for [`Feed::read`].
    pub(super) async fn subscribe(&self, mut connection: Connection, live: Live) -> Result<Reader> {
        let offset = self.tail(0).context("a feed has a first tail")?;
        let transport = match live {
            Live::Sse => Transport::Sse(self.begin_events(&mut connection, &offset).await?),
            Live::LongPoll => {
                connection.send(&self.long_poll(&offset, None)).await?;
                Transport::LongPoll
            }
        };
        Ok(Reader { connection, transport, received: Received::default() })
    }

    /// Reads until the last message has come. Latencies go to the recorder.
    pub(super) async fn read(self, reader: Reader, deliveries: Recorder) -> Result<()> {
        let Reader { connection, transport, received } = reader;
        match transport {
            Transport::Sse(events) => self.read_events(connection, events, received, &deliveries).await,
            Transport::LongPoll => self.poll(connection, received, &deliveries).await,
        }
    }

    async fn read_events(
        &self,
        mut connection: Connection,
        mut events: Begun,
        mut received: Received,
        deliveries: &Recorder,
    ) -> Result<()> {
        let mut scanner = Scanner::default();
        while !received.all {
            let mut outcome = Ok(());
            let more = connection
                .read_some(&mut events, &mut |bytes| {
                    if outcome.is_ok() {
                        outcome = scanner.feed(bytes, &mut |stamp| received.take(stamp, deliveries));
                    }
                })
                .await?;
            outcome?;
            if !more {
                // Servers end event streams now and then, for the sake of caches; the reader comes back.
                scanner = Scanner::default();
                let offset = self.tail_after(received.messages).await;
                events = self.begin_events(&mut connection, &offset).await?;
            }
        }
        Ok(())
    }

    async fn poll(
        &self,
        mut connection: Connection,
        mut received: Received,
        deliveries: &Recorder,
    ) -> Result<()> {
        loop {
            let response = connection.response().await?;
            if response.status != 204 {
                response.expect(200)?;
                Scanner::default().feed(response.body, &mut |stamp| received.take(stamp, deliveries))?;
            }
            if received.all {
                return Ok(());
            }
            let next =
                self.long_poll(response.header("Stream-Next-Offset")?, response.header("Stream-Cursor").ok());
            connection.send(&next).await?;
        }
    }

    async fn begin_events(&self, connection: &mut Connection, offset: &str) -> Result<Begun> {
        let url = format!("{}?offset={offset}&live=sse", path(&self.stream));
        let events =
            connection.begin(&http::request("GET", &url, &[("Accept", "text/event-stream")], b"")).await?;
        events.expect(200)?;
        Ok(events)
    }

    fn long_poll(&self, offset: &str, cursor: Option<&str>) -> Vec<u8> {
        let mut url = format!("{}?offset={offset}&live=long-poll", path(&self.stream));
        if let Some(cursor) = cursor {
            url.push_str("&cursor=");
            url.push_str(cursor);
        }
        http::request("GET", &url, &[], b"")
    }

    /// The offset after so many messages, if their writer knows it already.
    fn tail(&self, messages: u32) -> Option<String> {
        let index = usize::try_from(messages).ok()?;
        self.tails.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    /// Waits for a tail: a reader may have a message before its writer has the response.
    async fn tail_after(&self, messages: u32) -> String {
        loop {
            if let Some(tail) = self.tail(messages) {
                return tail;
            }
            sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Somebody who follows a feed.
pub(super) struct Reader {
    connection: Connection,
    transport: Transport,
    received: Received,
}

enum Transport {
    Sse(Begun),
    LongPoll,
}

/// The messages that a reader has.
#[derive(Default)]
struct Received {
    messages: u32,
    /// The last one is among them.
    all: bool,
}

impl Received {
    /// Each message must be the one after the one before it.
    fn take(&mut self, stamp: Stamp, deliveries: &Recorder) -> Result<()> {
        if stamp.sequence != self.messages {
            bail!("a reader got message {} when message {} was due", stamp.sequence, self.messages);
        }
        self.messages += 1;
        self.all = stamp.last;
        deliveries.took(stamp.sent.nanos_until(Moment::now()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_is_missing_or_comes_twice_is_an_error() {
        let recorder = Recorder::new().unwrap();
        let stamp = |sequence| Stamp { sequence, last: sequence == 2, sent: Moment::now() };
        let mut received = Received::default();
        received.take(stamp(0), &recorder).unwrap();
        assert!(received.take(stamp(0), &recorder).is_err());
        assert!(received.take(stamp(2), &recorder).is_err());
        received.take(stamp(1), &recorder).unwrap();
        assert!(!received.all);
        received.take(stamp(2), &recorder).unwrap();
        assert!(received.all);
    }
}
