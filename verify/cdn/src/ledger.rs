//! The ledger of a stream: what was written, and when. Viewers are checked against it.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The length of a message, including its line end.
pub(crate) const MESSAGE_BYTES: usize = 256;

/// The messages of one incarnation, numbered from 0. A message is a line of the incarnation's tag and its number.
#[derive(Default)]
pub(crate) struct Ledger {
    /// The beginning of every message, unique to this incarnation.
    tag: String,
    sent: Vec<Instant>,
    /// For each acknowledged append, the offset after it.
    acked: Vec<(String, Instant)>,
    closed: Option<Instant>,
    gone: Option<Instant>,
    /// The first half of every offset of this incarnation.
    incarnation: String,
}

/// The ledgers of all incarnations of a name; a viewer is checked against the one that it saw first.
pub(crate) type Incarnations = Rc<RefCell<Vec<Rc<RefCell<Ledger>>>>>;

/// The ledger of the incarnation that an offset belongs to.
pub(crate) fn of_offset(incarnations: &Incarnations, offset: &str) -> Option<Rc<RefCell<Ledger>>> {
    let incarnation = incarnation(offset);
    incarnations.borrow().iter().find(|ledger| ledger.borrow().incarnation == incarnation).cloned()
}

/// The half of an offset that names the incarnation.
fn incarnation(offset: &str) -> &str {
    offset.split_once('_').map_or("", |(incarnation, _)| incarnation)
}

impl Ledger {
    /// Returns the ledger of an incarnation that begins at `offset`.
    pub(crate) fn new(tag: &str, offset: &str) -> Self {
        Self {
            tag: tag.to_owned(),
            sent: Vec::new(),
            acked: Vec::new(),
            closed: None,
            gone: None,
            incarnation: incarnation(offset).to_owned(),
        }
    }

    /// The bytes of the next append, which holds so many messages; they count as sent from now on.
    pub(crate) fn next(&mut self, messages: usize) -> Vec<u8> {
        let mut text = String::with_capacity(messages * MESSAGE_BYTES);
        for _ in 0..messages {
            let start = text.len();
            // Writing to a String can't fail.
            let _ = write!(text, "{} {} ", self.tag, self.sent.len());
            let padding = MESSAGE_BYTES.saturating_sub(text.len() - start + 1);
            text.extend(std::iter::repeat_n('.', padding));
            text.push('\n');
            self.sent.push(Instant::now());
        }
        text.into_bytes()
    }

    pub(crate) fn on_acknowledged(&mut self, next_offset: &str) {
        self.acked.push((next_offset.to_owned(), Instant::now()));
    }

    pub(crate) fn on_closed(&mut self) {
        self.closed = Some(Instant::now());
    }

    /// The incarnation ends now: its readers can't be held to the rest.
    pub(crate) fn on_delete(&mut self) {
        self.gone = Some(Instant::now());
    }

    /// The number of messages.
    pub(crate) fn messages(&self) -> usize {
        self.sent.len()
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.is_some()
    }

    pub(crate) fn closed(&self) -> Option<Instant> {
        self.closed
    }

    /// When a message was sent.
    pub(crate) fn sent(&self, number: usize) -> Option<Instant> {
        self.sent.get(number).copied()
    }

    /// The number of a message of this incarnation; `None` for a line that isn't one.
    pub(crate) fn number(&self, line: &[u8]) -> Option<usize> {
        let text = std::str::from_utf8(line).ok().filter(|line| line.len() + 1 == MESSAGE_BYTES)?;
        let (number, padding) = text.strip_prefix(&*self.tag)?.strip_prefix(' ')?.split_once(' ')?;
        padding.bytes().all(|byte| byte == b'.').then(|| number.parse().ok())?
    }

    /// For how long it has been false that `offset` is the tail: since the first acknowledgement of more, or since
    /// the stream is gone.
    pub(crate) fn stale(&self, offset: &str) -> Duration {
        // Offsets of one incarnation have one length and sort as bytes do (section 8).
        let first = self.acked.partition_point(|(end, _)| end.as_str() <= offset);
        let more = self.acked.get(first).map(|(_, acked)| *acked);
        more.or(self.gone).map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_known_by_its_line_and_only_to_its_own_life() {
        let mut ledger = Ledger::new("a1", "7_0");
        let bytes = ledger.next(3);
        assert_eq!(bytes.len(), 3 * MESSAGE_BYTES);
        let numbers: Vec<_> = bytes.split(|&byte| byte == b'\n').map(|line| ledger.number(line)).collect();
        assert_eq!(numbers, [Some(0), Some(1), Some(2), None]);
        let other = Ledger::new("a2", "8_0").next(1);
        assert_eq!(ledger.number(other.trim_ascii_end()), None);
        let cut = bytes.get(..100).unwrap();
        assert_eq!(ledger.number(cut), None);
    }

    #[test]
    fn a_tail_is_stale_once_more_is_acknowledged() {
        let mut ledger = Ledger::new("a", "7_0");
        ledger.on_acknowledged("7_2");
        assert_eq!(ledger.stale("7_2"), Duration::ZERO);
        ledger.on_acknowledged("7_4");
        std::thread::yield_now();
        assert!(ledger.stale("7_2") > Duration::ZERO);
        assert_eq!(ledger.stale("7_4"), Duration::ZERO);
    }
}
