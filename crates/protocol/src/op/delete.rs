//! DELETE: remove a stream, or hide it while forks need its bytes (section 5.4); expiry does the same.

use http::StatusCode;

use crate::{
    bad_request::BadRequest,
    expiry,
    path::StreamName,
    precondition::Precondition,
    refusal::{Missing, Refusal},
    request::head::RequestHead,
    response::{Response, ResponseHead},
    stream::StreamHead,
};

/// A DELETE whose head was read.
#[derive(Clone, Debug)]
pub struct Delete {
    /// The stream to delete.
    pub name: StreamName,
    precondition: Precondition,
}

/// The removal of a stream that nobody may use any more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "made once per deletion and taken apart at once")]
pub enum Removal {
    /// The stream is removed, with all its bytes.
    Remove,
    /// The stream is hidden until its last fork is gone; this is its state.
    Keep(StreamHead),
}

impl Delete {
    pub(crate) fn parse(head: &impl RequestHead, name: StreamName) -> Result<Self, BadRequest> {
        Ok(Self { name, precondition: Precondition::parse(head)? })
    }

    /// Decides, given the stream.
    ///
    /// # Errors
    /// [`Missing::NotFound`], [`Missing::Gone`] if it was deleted before, or
    /// [`Conflict::Precondition`](crate::Conflict::Precondition).
    pub fn decide(&self, head: Option<&StreamHead>, now_ms: u64) -> Result<Removal, Refusal> {
        let head = head.ok_or(Missing::NotFound)?.usable(now_ms)?;
        self.precondition.check(Some(head))?;
        Ok(remove(head))
    }

    /// Returns the response.
    #[must_use]
    pub fn respond(&self) -> Response {
        ResponseHead::new(StatusCode::NO_CONTENT).into()
    }
}

/// Decides what to do with a stream whose deadline may be past; `None` if it stays.
#[must_use]
pub fn expire(head: &StreamHead, now_ms: u64) -> Option<Removal> {
    let over = expiry::is_past(head.deadline_ms, now_ms);
    match (over && !head.soft_deleted, head.is_unneeded()) {
        (true, _) => Some(remove(head)),
        (_, true) => Some(Removal::Remove),
        _ => None,
    }
}

fn remove(head: &StreamHead) -> Removal {
    if head.forks == 0 {
        return Removal::Remove;
    }
    Removal::Keep(StreamHead {
        soft_deleted: true,
        deadline_ms: None,
        version: head.version + 1,
        ..head.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::tests::head;

    fn delete(head: Option<&StreamHead>) -> Result<Removal, Refusal> {
        let precondition = Precondition::default();
        Delete { name: StreamName::new("a").unwrap(), precondition }.decide(head, 5_000)
    }

    #[test]
    fn a_stream_goes_unless_forks_need_it() {
        assert_eq!(delete(Some(&head(1))), Ok(Removal::Remove));
        let source = StreamHead { forks: 2, deadline_ms: Some(9_000), ..head(1) };
        let Ok(Removal::Keep(kept)) = delete(Some(&source)) else { panic!() };
        assert_eq!((kept.soft_deleted, kept.deadline_ms, kept.version), (true, None, 2));
        assert_eq!(delete(Some(&kept)), Err(Missing::Gone.into()));
        assert_eq!(delete(None), Err(Missing::NotFound.into()));
    }

    #[test]
    fn expiry_removes_what_is_over_and_nothing_else() {
        let stream = StreamHead { deadline_ms: Some(5_000), ..head(1) };
        assert_eq!(expire(&stream, 4_999), None);
        assert_eq!(expire(&stream, 5_000), Some(Removal::Remove));
        assert!(matches!(expire(&StreamHead { forks: 1, ..stream }, 5_000), Some(Removal::Keep(_))));
        let kept = StreamHead { soft_deleted: true, forks: 1, ..head(1) };
        assert_eq!(expire(&kept, 5_000), None);
        assert_eq!(expire(&StreamHead { forks: 0, ..kept }, 5_000), Some(Removal::Remove));
    }
}
