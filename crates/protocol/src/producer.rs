//! Idempotent producers (section 5.2.1): which requests are new, repeated, late or out of order.

use http::HeaderName;

use crate::{bad_request::BadRequest, decimal, names, refusal::Conflict};

/// The longest `Producer-Id`, in bytes.
pub const PRODUCER_ID_BYTES_MAX: usize = 256;

/// The name that a producer gives itself; scoped to one stream.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(Box<str>);

impl ProducerId {
    /// Reads `Producer-Id`.
    ///
    /// # Errors
    /// [`BadRequest::ProducerIdMalformed`] if it is empty or longer than [`PRODUCER_ID_BYTES_MAX`].
    pub fn parse(text: &str) -> Result<Self, BadRequest> {
        if text.is_empty() || text.len() > PRODUCER_ID_BYTES_MAX {
            return Err(BadRequest::ProducerIdMalformed);
        }
        Ok(Self(text.into()))
    }

    /// Returns the name.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identity that a request of a producer claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The producer.
    pub id: ProducerId,
    /// The producer's session; at most [`decimal::SAFE_INTEGER_MAX`].
    pub epoch: u64,
    /// The number of the request in that session, from 0; at most [`decimal::SAFE_INTEGER_MAX`].
    pub seq: u64,
}

impl Claim {
    /// Reads the three producer headers; `None` if the request has none of them.
    ///
    /// # Errors
    /// [`BadRequest::ProducerIncomplete`] if only some are present, [`BadRequest::ProducerIdMalformed`] or
    /// [`BadRequest::ProducerNumberMalformed`] if one doesn't follow section 5.2.1.
    pub fn parse(
        id: Option<&str>,
        epoch: Option<&str>,
        seq: Option<&str>,
    ) -> Result<Option<Self>, BadRequest> {
        match (id, epoch, seq) {
            (None, None, None) => Ok(None),
            (Some(id), Some(epoch), Some(seq)) => Ok(Some(Self {
                id: ProducerId::parse(id)?,
                epoch: number(names::PRODUCER_EPOCH, epoch)?,
                seq: number(names::PRODUCER_SEQ, seq)?,
            })),
            _ => Err(BadRequest::ProducerIncomplete),
        }
    }
}

fn number(header: HeaderName, text: &str) -> Result<u64, BadRequest> {
    decimal::parse_safe(text).ok_or(BadRequest::ProducerNumberMalformed { header })
}

/// The state of a producer in one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The session that may write.
    pub epoch: u64,
    /// The number of the last request that was accepted in this session.
    pub seq_last: u64,
}

/// The relation of a claim to the producer's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The request is new and makes this the state.
    Accept(ProducerState),
    /// The request was accepted before; this stays the state.
    Duplicate(ProducerState),
}

/// Compares a claim with the producer's state; `None` if the stream doesn't know the producer.
///
/// # Errors
/// [`Conflict::ProducerStale`], [`Conflict::ProducerEpochStart`] or [`Conflict::ProducerGap`].
pub(crate) fn judge(state: Option<ProducerState>, claim: &Claim) -> Result<Judgement, Conflict> {
    let accepted = ProducerState { epoch: claim.epoch, seq_last: claim.seq };
    match state {
        None if claim.seq == 0 => Ok(Judgement::Accept(accepted)),
        None => Err(Conflict::ProducerGap { expected: 0, received: claim.seq }),
        Some(state) if claim.epoch < state.epoch => Err(Conflict::ProducerStale { epoch: state.epoch }),
        Some(state) if claim.epoch > state.epoch => {
            if claim.seq == 0 {
                Ok(Judgement::Accept(accepted))
            } else {
                Err(Conflict::ProducerEpochStart)
            }
        }
        Some(state) if claim.seq <= state.seq_last => Ok(Judgement::Duplicate(state)),
        Some(state) if claim.seq == state.seq_last + 1 => Ok(Judgement::Accept(accepted)),
        Some(state) => Err(Conflict::ProducerGap { expected: state.seq_last + 1, received: claim.seq }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decimal::SAFE_INTEGER_MAX;

    fn claim(epoch: u64, seq: u64) -> Claim {
        Claim { id: ProducerId::parse("p").unwrap(), epoch, seq }
    }

    #[test]
    fn the_table_of_section_5_2_1() {
        let at = |epoch, seq_last| Some(ProducerState { epoch, seq_last });
        let accept = |epoch, seq_last| Ok(Judgement::Accept(ProducerState { epoch, seq_last }));
        let duplicate = |epoch, seq_last| Ok(Judgement::Duplicate(ProducerState { epoch, seq_last }));
        let cases = [
            (None, claim(0, 0), accept(0, 0)),
            (None, claim(7, 0), accept(7, 0)),
            (None, claim(0, 3), Err(Conflict::ProducerGap { expected: 0, received: 3 })),
            (at(5, 2), claim(4, 3), Err(Conflict::ProducerStale { epoch: 5 })),
            (at(5, 2), claim(6, 0), accept(6, 0)),
            (at(5, 2), claim(6, 1), Err(Conflict::ProducerEpochStart)),
            (at(5, 2), claim(5, 0), duplicate(5, 2)),
            (at(5, 2), claim(5, 2), duplicate(5, 2)),
            (at(5, 2), claim(5, 3), accept(5, 3)),
            (at(5, 2), claim(5, 4), Err(Conflict::ProducerGap { expected: 3, received: 4 })),
        ];
        for (state, claim, expected) in cases {
            assert_eq!(judge(state, &claim), expected, "{state:?} {claim:?}");
        }
    }

    #[test]
    fn the_three_headers_come_together_and_are_strict() {
        assert_eq!(Claim::parse(None, None, None), Ok(None));
        assert_eq!(
            Claim::parse(Some("p"), Some("0"), Some("9007199254740991")),
            Ok(Some(claim(0, SAFE_INTEGER_MAX)))
        );
        for (id, epoch, seq) in
            [(Some("p"), None, None), (None, Some("0"), Some("0")), (Some("p"), Some("0"), None)]
        {
            assert_eq!(Claim::parse(id, epoch, seq), Err(BadRequest::ProducerIncomplete));
        }
        for bad in ["", "-1", "+1", "01", "1abc", "1e3", " 1", "9007199254740992"] {
            assert_eq!(
                Claim::parse(Some("p"), Some(bad), Some("0")),
                Err(BadRequest::ProducerNumberMalformed { header: names::PRODUCER_EPOCH }),
                "{bad:?}"
            );
            assert_eq!(
                Claim::parse(Some("p"), Some("0"), Some(bad)),
                Err(BadRequest::ProducerNumberMalformed { header: names::PRODUCER_SEQ }),
                "{bad:?}"
            );
        }
        for id in ["", &"x".repeat(257)] {
            assert_eq!(ProducerId::parse(id), Err(BadRequest::ProducerIdMalformed));
        }
    }

    proptest! {
        #[test]
        fn what_a_producer_says_of_itself_is_understood(id in "[!-~]{1,256}", epoch in 0..=SAFE_INTEGER_MAX, seq in 0..=SAFE_INTEGER_MAX) {
            let parsed = Claim::parse(Some(&id), Some(&epoch.to_string()), Some(&seq.to_string()));
            prop_assert_eq!(parsed, Ok(Some(Claim { id: ProducerId::parse(&id).unwrap(), epoch, seq })));
        }

        #[test]
        fn no_headers_panic(id in any::<Option<String>>(), epoch in any::<Option<String>>(), seq in any::<Option<String>>()) {
            let _ = Claim::parse(id.as_deref(), epoch.as_deref(), seq.as_deref());
        }

        #[test]
        fn a_retry_of_what_was_accepted_is_a_duplicate(epoch in 0..5u64, seq in 0..5u64, e in 0..5u64, s in 0..5u64) {
            let claim = claim(e, s);
            if let Ok(Judgement::Accept(state)) = judge(Some(ProducerState { epoch, seq_last: seq }), &claim) {
                prop_assert_eq!(judge(Some(state), &claim), Ok(Judgement::Duplicate(state)));
            }
        }
    }
}
