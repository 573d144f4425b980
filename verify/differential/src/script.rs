//! A script: requests to a few streams, as plain data that reads like a transcript.
//!
//! A value that is unknown before the script runs, such as an offset, is a reference to an earlier response.

use std::fmt;

/// Requests, one after another.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
}

/// A stream of a script.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(pub(crate) u8);

impl Slot {
    /// The number of streams in a script.
    pub(crate) const COUNT: usize = 4;

    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One request.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) method: &'static str,
    pub(crate) slot: Slot,
    pub(crate) spelling: Spelling,
    pub(crate) query: Vec<(&'static str, Text)>,
    pub(crate) headers: Vec<(&'static str, Text)>,
    /// `None`: the head says nothing of a body.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) form: Form,
    /// Sent while this one, a live read, may be waiting.
    pub(crate) meanwhile: Option<Box<Self>>,
}

/// The spelling of a request's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As everybody does.
    Plain,
    /// With a character percent-encoded that needn't be: the same stream.
    Escaped,
    /// In absolute form, with this scheme and authority.
    Absolute(&'static str),
    /// With something after the name.
    Suffixed(&'static str),
    /// Something else altogether.
    Whole(&'static str),
}

/// The form of a request on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) hosts: &'static [&'static str],
    pub(crate) is_http_1_0: bool,
    /// The body comes in chunks instead of with a length.
    pub(crate) is_chunked: bool,
    /// Header names are in capitals.
    pub(crate) shouts: bool,
}

impl Form {
    /// The host of all requests, whichever server they are sent to, so that responses name the same.
    pub(crate) const HOST: &str = "streams.example";
    pub(crate) const USUAL: Self =
        Self { hosts: &[Self::HOST], is_http_1_0: false, is_chunked: false, shouts: false };
}

/// The value of a header or a parameter.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) before: Vec<u8>,
    pub(crate) seen: Option<Seen>,
    pub(crate) after: &'static str,
}

/// A value of an earlier response. `back` counts such responses backwards and wraps around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// `Stream-Next-Offset`, moved by so many positions.
    Offset { slot: Slot, back: u8, by: i8 },
    /// An `ETag`.
    Tag { slot: Slot, back: u8 },
    /// A `Stream-Cursor`.
    Cursor { slot: Slot, back: u8 },
    /// The path of a stream.
    Path(Slot),
}

impl Text {
    /// Exactly this.
    pub(crate) fn is(text: impl Into<Vec<u8>>) -> Self {
        Self { before: text.into(), seen: None, after: "" }
    }

    /// Returns a value of an earlier response.
    pub(crate) const fn seen(seen: Seen) -> Self {
        Self { before: Vec::new(), seen: Some(seen), after: "" }
    }

    /// Returns a value of an earlier response between other text.
    pub(crate) fn around(before: &str, seen: Seen, after: &'static str) -> Self {
        Self { before: before.into(), seen: Some(seen), after }
    }
}

impl Step {
    /// A request without anything.
    pub(crate) const fn new(method: &'static str, slot: Slot) -> Self {
        Self {
            method,
            slot,
            spelling: Spelling::Plain,
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            form: Form::USUAL,
            meanwhile: None,
        }
    }

    /// Whether the target is ASCII.
    pub(crate) fn has_plain_target(&self) -> bool {
        let is_plain = match self.spelling {
            Spelling::Suffixed(text) | Spelling::Whole(text) => text.is_ascii(),
            Spelling::Plain | Spelling::Escaped | Spelling::Absolute(_) => true,
        };
        is_plain && self.query.iter().all(|(name, value)| name.is_ascii() && value.before.is_ascii())
    }

    /// Whether the target may name another stream than the slot's.
    pub(crate) fn has_another_name(&self) -> bool {
        !matches!(self.spelling, Spelling::Plain | Spelling::Absolute(_))
    }

    /// The values of a header, as far as they are known without answers.
    pub(crate) fn values(&self, name: &str) -> impl Iterator<Item = &Text> {
        self.headers.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Whether a header is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// Whether a header has a value of which this is true.
    pub(crate) fn says(&self, name: &str, is: impl Fn(&str) -> bool) -> bool {
        self.values(name).any(|value| is(&String::from_utf8_lossy(&value.before)))
    }

    /// Whether a header or a parameter is there more than once.
    pub(crate) fn repeats_itself(&self) -> bool {
        let repeats = |mut names: Vec<&str>| {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            names.len() < count
        };
        repeats(self.headers.iter().map(|(name, _)| *name).collect())
            || repeats(self.query.iter().map(|(name, _)| *name).collect())
    }

    /// All values of a parameter.
    pub(crate) fn parameters(&self, name: &str) -> impl Iterator<Item = &Text> {
        self.query.iter().filter(move |(key, _)| *key == name).map(|(_, value)| value)
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:3}  {step}", at + 1)?;
        }
        Ok(())
    }
}

// proptest shows values so.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'a' + self.0))
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, slot, spelling, query, headers, body, form, meanwhile } = self;
        write!(f, "{method} ")?;
        match spelling {
            Spelling::Plain => write!(f, "{slot}")?,
            Spelling::Escaped => write!(f, "{slot} (escaped)")?,
            Spelling::Absolute(origin) => write!(f, "{origin}/{slot}")?,
            Spelling::Suffixed(suffix) => write!(f, "{slot}{}", shortened(suffix.as_bytes()))?,
            Spelling::Whole(path) => write!(f, "{path}")?,
        }
        for (at, (name, value)) in query.iter().enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { '?' } else { '&' })?;
        }
        for (name, value) in headers {
            write!(f, "  {name}: {value}")?;
        }
        if *form != Form::USUAL {
            let Form { hosts, is_http_1_0, is_chunked, shouts } = form;
            write!(
                f,
                "  (hosts {hosts:?}, HTTP/1.0 {is_http_1_0}, chunked {is_chunked}, capitals {shouts})"
            )?;
        }
        if let Some(body) = body {
            write!(f, "  \"{}\"", shortened(body))?;
        }
        if let Some(meanwhile) = meanwhile {
            write!(f, "  ... meanwhile {meanwhile}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shortened(&self.before))?;
        match self.seen {
            None => {}
            Some(Seen::Offset { slot, back, by: 0 }) => write!(f, "<{slot}'s offset, {back} back>")?,
            Some(Seen::Offset { slot, back, by }) => write!(f, "<{slot}'s offset, {back} back, {by:+}>")?,
            Some(Seen::Tag { slot, back }) => write!(f, "<{slot}'s tag, {back} back>")?,
            Some(Seen::Cursor { slot, back }) => write!(f, "<{slot}'s cursor, {back} back>")?,
            Some(Seen::Path(slot)) => write!(f, "<path of {slot}>")?,
        }
        write!(f, "{}", self.after)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The beginning of some bytes, with what isn't printable escaped.
fn shortened(bytes: &[u8]) -> String {
    const SHOWN: usize = 80;
    match bytes.get(..SHOWN) {
        Some(begin) if bytes.len() > SHOWN => format!("{}... ({} bytes)", begin.escape_ascii(), bytes.len()),
        _ => bytes.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads_like_a_transcript() {
        let slot = Slot(1);
        let put = Step {
            headers: vec![("Content-Type", Text::is("text/plain"))],
            body: Some(b"a\n".to_vec()),
            ..Step::new("PUT", slot)
        };
        let get = Step {
            query: vec![("offset", Text::seen(Seen::Offset { slot, back: 0, by: 0 }))],
            ..Step::new("GET", slot)
        };
        let script = Script { steps: vec![put, get] };
        assert_eq!(
            script.to_string(),
            "  1  PUT b  Content-Type: text/plain  \"a\\n\"\n  2  GET b?offset=<b's offset, 0 back>\n"
        );
    }
}
