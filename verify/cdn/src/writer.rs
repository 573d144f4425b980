//! The one writer of a stream. It talks to the origin itself, as writers do.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use headwater_bench::http::{self, Connection};

use crate::ledger::{Incarnations, Ledger, MESSAGE_BYTES};

/// The messages of one append that fills a history: 256 KiB.
const FILL_MESSAGES: usize = 1_024;
const TEXT: (&str, &str) = ("Content-Type", "text/plain");

/// A stream's writer, and what it wrote.
pub(crate) struct Writer {
    connection: Connection,
    path: String,
    headers: Vec<(String, String)>,
    pub(crate) incarnations: Incarnations,
}

impl Writer {
    /// Creates the stream. `tag` is what its messages begin with.
    pub(crate) async fn create(
        origin: SocketAddr,
        path: &str,
        tag: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self> {
        let owned = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let connection = Connection::open(origin).await?;
        let mut writer =
            Self { connection, path: path.to_owned(), headers: owned, incarnations: Incarnations::default() };
        writer.begin(tag).await?;
        Ok(writer)
    }

    /// The incarnation that is written now.
    pub(crate) fn ledger(&self) -> Rc<RefCell<Ledger>> {
        self.incarnations.borrow().last().cloned().unwrap_or_default()
    }

    /// Appends one message.
    pub(crate) async fn append(&mut self) -> Result<()> {
        self.append_messages(1).await
    }

    /// Appends so many bytes of history, at least.
    pub(crate) async fn fill(&mut self, bytes: u64) -> Result<()> {
        for _ in 0..bytes.div_ceil((FILL_MESSAGES * MESSAGE_BYTES) as u64) {
            self.append_messages(FILL_MESSAGES).await?;
        }
        Ok(())
    }

    /// Closes the stream.
    pub(crate) async fn close(&mut self) -> Result<()> {
        self.send("POST", &[TEXT, ("Stream-Closed", "true")], &[], 204).await?;
        self.ledger().borrow_mut().on_closed();
        Ok(())
    }

    /// Deletes the stream and creates another one of the same name, whose messages begin with `tag`.
    pub(crate) async fn recreate(&mut self, tag: &str) -> Result<()> {
        self.ledger().borrow_mut().on_delete();
        self.send("DELETE", &[], &[], 204).await?;
        self.begin(tag).await
    }

    /// Connects anew, to an origin that was restarted.
    pub(crate) async fn reconnect(&mut self, origin: SocketAddr) -> Result<()> {
        self.connection = Connection::open(origin).await?;
        Ok(())
    }

    async fn begin(&mut self, tag: &str) -> Result<()> {
        let beginning = self.send("PUT", &[TEXT], &[], 201).await?.context("no Stream-Next-Offset")?;
        self.incarnations.borrow_mut().push(Rc::new(RefCell::new(Ledger::new(tag, &beginning))));
        Ok(())
    }

    async fn append_messages(&mut self, messages: usize) -> Result<()> {
        let ledger = self.ledger();
        let body = ledger.borrow_mut().next(messages);
        let next_offset = self.send("POST", &[TEXT], &body, 204).await?.context("no Stream-Next-Offset")?;
        ledger.borrow_mut().on_acknowledged(&next_offset);
        Ok(())
    }

    async fn send(
        &mut self,
        method: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        status: u16,
    ) -> Result<Option<String>> {
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let headers: Vec<(&str, &str)> = headers.iter().copied().chain(own).collect();
        let request = http::request(method, &self.path, &headers, body);
        let response = self.connection.exchange(&request).await?;
        response.expect(status).with_context(|| format!("{method} {}", self.path))?;
        Ok(response.header("stream-next-offset").ok().map(str::to_owned))
    }
}
