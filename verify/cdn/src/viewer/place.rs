//! A viewer's position, and the check of the bytes it gets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use crate::ledger::Ledger;
use crate::tally::Tally;

/// A viewer's position in one incarnation of the stream.
pub(crate) struct Place {
    pub(crate) offset: String,
    pub(crate) cursor: Option<String>,
    /// The number of messages read.
    pub(crate) messages: usize,
    /// Since when the viewer waits for what comes.
    pub(crate) live: Option<Instant>,
    /// The ledger to check against, once the viewer has seen an offset.
    pub(crate) ledger: Option<Rc<RefCell<Ledger>>>,
    /// The beginning of a message whose rest is still to come.
    partial: Vec<u8>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            offset: "-1".to_owned(),
            cursor: None,
            messages: 0,
            live: None,
            ledger: None,
            partial: Vec::new(),
        }
    }

    /// The response broke off: it will be asked for again.
    pub(crate) fn forget_partial(&mut self) {
        self.partial.clear();
    }

    /// Checks the bytes that follow those that were read.
    pub(crate) fn read(&mut self, bytes: &[u8], viewer: usize, tally: &mut Tally) {
        self.partial.extend_from_slice(bytes);
        let complete = self.partial.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let rest = self.partial.split_off(complete);
        let lines = std::mem::replace(&mut self.partial, rest);
        let ledger = self.ledger.clone().unwrap_or_default();
        let ledger = ledger.borrow();
        for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let expected = self.messages;
            match ledger.number(line) {
                Some(number) if number == expected => {
                    self.messages += 1;
                    if let (Some(live), Some(sent)) = (self.live, ledger.sent(number))
                        && live <= sent
                    {
                        tally.delivered(sent.elapsed());
                    }
                }
                Some(number) => {
                    tally.wrong(|| format!("viewer {viewer} got message {number} instead of {expected}"));
                    self.messages = number + 1;
                }
                None => {
                    let text = String::from_utf8_lossy(line.get(..40).unwrap_or(line)).into_owned();
                    tally.wrong(|| format!("viewer {viewer} got a foreign line: {text}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(messages: usize) -> (Place, Vec<u8>, Tally) {
        let mut ledger = Ledger::new("a", "7_0");
        let bytes = ledger.next(messages);
        let place = Place { ledger: Some(Rc::new(RefCell::new(ledger))), ..Place::new() };
        (place, bytes, Tally::default())
    }

    #[test]
    fn messages_in_order_are_right_wherever_they_are_cut() {
        let (mut place, bytes, mut tally) = place(3);
        for piece in bytes.chunks(100) {
            place.read(piece, 1, &mut tally);
        }
        assert_eq!((place.messages, tally.wrongs().0), (3, 0));
    }

    #[test]
    fn a_message_twice_missing_or_of_another_life_is_wrong() {
        let (mut place, bytes, mut tally) = place(3);
        let (first, rest) = bytes.split_at(bytes.len() / 3);
        place.read(first, 1, &mut tally);
        place.read(first, 1, &mut tally);
        assert_eq!(tally.wrongs(), (1, ["viewer 1 got message 0 instead of 1".to_owned()].as_slice()));
        let (_, last) = rest.split_at(rest.len() / 2);
        place.read(last, 1, &mut tally);
        assert_eq!(tally.wrongs().0, 2);
        place.read(&Ledger::new("b", "8_0").next(1), 1, &mut tally);
        assert_eq!(tally.wrongs().0, 3);
    }
}
