//! Bodies as they arrive: the payload without its framing, piece by piece, wherever the network cut it.

use anyhow::{Result, bail};

use super::head::Framing;

/// The rest of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Chunked::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Gives the payload in `input` to `sink` and says how many bytes of the input belonged to this body.
    pub(crate) fn decode(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        match self {
            Self::Length(left) => {
                let (payload, _) = split(input, *left);
                *left -= payload.len() as u64;
                if !payload.is_empty() {
                    sink(payload);
                }
                Ok(payload.len())
            }
            Self::Chunked(chunked) => chunked.decode(input, sink),
            Self::UntilClose => {
                sink(input);
                Ok(input.len())
            }
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// Whether the connection may end here.
    pub(crate) fn may_end(&self) -> bool {
        self.is_done() || *self == Self::UntilClose
    }

    /// The number of next bytes that are certainly payload and need no parsing.
    pub(crate) fn payload_ahead(&self) -> u64 {
        match self {
            Self::Length(left) | Self::Chunked(Chunked { state: State::Data(left) }) => *left,
            Self::Chunked(_) | Self::UntilClose => 0,
        }
    }

    /// Notes that `bytes` of [`Body::payload_ahead`] were taken from the connection without decoding them.
    pub(crate) fn skipped(&mut self, bytes: u64) {
        match self {
            Self::Length(left) => *left = left.saturating_sub(bytes),
            Self::Chunked(chunked) => chunked.skipped(bytes),
            Self::UntilClose => {}
        }
    }
}

/// The chunked coding (RFC 9112, 7.1), one state per place where the network can cut it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunked {
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    SizeStart,
    /// In the digits of a size.
    Size(u64),
    /// After the digits, in an extension or before the line's end.
    SizeLine(u64),
    /// The rest of the chunk.
    Data(u64),
    /// Before the line's end that follows the data.
    DataEnd,
    /// After the last chunk; `true` at the beginning of a line.
    Trailer(bool),
    Done,
}

impl Chunked {
    fn decode(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        let mut rest = input;
        while self.state != State::Done {
            if let State::Data(left) = self.state {
                let (payload, after) = split(rest, left);
                if !payload.is_empty() {
                    sink(payload);
                }
                self.skipped(payload.len() as u64);
                rest = after;
                if matches!(self.state, State::Data(_)) {
                    break;
                }
            }
            let Some((&byte, after)) = rest.split_first() else { break };
            rest = after;
            self.state = self.state.after(byte)?;
        }
        Ok(input.len() - rest.len())
    }

    fn skipped(&mut self, bytes: u64) {
        if let State::Data(left) = self.state {
            self.state = if bytes >= left { State::DataEnd } else { State::Data(left - bytes) };
        }
    }
}

impl State {
    fn after(self, byte: u8) -> Result<Self> {
        Ok(match (self, byte) {
            (Self::Size(0) | Self::SizeLine(0), b'\n') => Self::Trailer(true),
            (Self::Size(size) | Self::SizeLine(size), b'\n') => Self::Data(size),
            (Self::Size(size), b'\r' | b';' | b' ') | (Self::SizeLine(size), _) => Self::SizeLine(size),
            (Self::SizeStart, digit) => Self::Size(hex(digit)?),
            (Self::Size(size), digit) => Self::Size(size << 4 | hex(digit)?),
            (Self::DataEnd, b'\r') => Self::DataEnd,
            (Self::DataEnd, b'\n') => Self::SizeStart,
            (Self::DataEnd, byte) => bail!("a chunk is longer than its size: byte {byte:#04x} after it"),
            (Self::Trailer(true), b'\n') => Self::Done,
            (Self::Trailer(at_start), b'\r') => Self::Trailer(at_start),
            (Self::Trailer(_), byte) => Self::Trailer(byte == b'\n'),
            // The loop above takes care of both.
            (state @ (Self::Data(_) | Self::Done), _) => state,
        })
    }
}

fn hex(digit: u8) -> Result<u64> {
    match char::from(digit).to_digit(16) {
        Some(value) => Ok(u64::from(value)),
        None => bail!("not the size of a chunk: byte {digit:#04x}"),
    }
}

/// `input` before and after `bytes`, or all of it and nothing.
fn split(input: &[u8], bytes: u64) -> (&[u8], &[u8]) {
    let at = usize::try_from(bytes).unwrap_or(usize::MAX).min(input.len());
    input.split_at(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the pieces in turn; the payload and how many bytes belonged to the body.
    fn decode<'a>(
        framing: Framing,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(Vec<u8>, usize, bool)> {
        let mut body = Body::new(framing);
        let (mut payload, mut taken) = (Vec::new(), 0);
        for piece in pieces {
            taken += body.decode(piece, &mut |bytes| payload.extend_from_slice(bytes))?;
        }
        Ok((payload, taken, body.is_done()))
    }

    #[test]
    fn chunks_are_the_same_wherever_they_are_cut() {
        let chunks = b"5;name=x\r\nhello\r\n1\r\n \r\n0B\r\nsmall world\r\n0\r\nTrailer: x\r\n\r\n";
        for at in 0..=chunks.len() {
            let (before, after) = chunks.split_at(at);
            let decoded = decode(Framing::Chunked, [before, after]).unwrap();
            assert_eq!(decoded, (b"hello small world".to_vec(), chunks.len(), true), "cut at {at}");
        }
        let bytewise = decode(Framing::Chunked, chunks.chunks(1)).unwrap();
        assert_eq!(bytewise, (b"hello small world".to_vec(), chunks.len(), true));
    }

    #[test]
    fn what_follows_a_body_is_not_part_of_it() {
        assert_eq!(
            decode(Framing::Chunked, [b"1\r\nx\r\n0\r\n\r\nHTTP/1.1".as_slice()]).unwrap(),
            (b"x".to_vec(), 11, true)
        );
        assert_eq!(decode(Framing::Length(3), [b"abcd".as_slice()]).unwrap(), (b"abc".to_vec(), 3, true));
    }

    #[test]
    fn a_length_is_counted_down_over_pieces() {
        let decoded = decode(Framing::Length(4), [b"ab".as_slice(), b"c"]).unwrap();
        assert_eq!(decoded, (b"abc".to_vec(), 3, false));
    }

    #[test]
    fn payload_can_be_skipped_and_framing_cannot() {
        let mut body = Body::new(Framing::Chunked);
        assert_eq!(body.payload_ahead(), 0);
        body.decode(b"a\r\n12", &mut |_| {}).unwrap();
        assert_eq!(body.payload_ahead(), 8);
        body.skipped(8);
        assert_eq!(body.payload_ahead(), 0);
        body.decode(b"\r\n0\r\n\r\n", &mut |_| {}).unwrap();
        assert!(body.is_done());
        let mut body = Body::new(Framing::Length(9));
        body.skipped(9);
        assert!(body.is_done());
    }

    #[test]
    fn nonsense_is_an_error() {
        assert!(decode(Framing::Chunked, [b"xyz\r\n".as_slice()]).is_err());
        assert!(decode(Framing::Chunked, [b"1\r\nab\r\n".as_slice()]).is_err());
        assert!(decode(Framing::Chunked, [b"1\r\na\r\n\r\n".as_slice()]).is_err());
    }
}
