//! A stream's head as bytes, in the commit log and in the column family `names`.
//!
//! The part that the store itself needs stands first ([`HeadPrefix`]), so that it can be read without the rest.

use headwater_protocol::{
    cache::Visibility,
    content_type::ContentType,
    expiry::Lifetime,
    offset::{Incarnation, Offset, ReadFrom},
    path::StreamName,
    producer::{Claim, ProducerId},
    stream::{Ancestor, Closure, ForkOrigin, StreamHead},
};
use headwater_store::StreamState;

use crate::codec::{Input, Malformed, put_bytes, put_number, put_option};

const PRIVATE: u8 = 1;
const PUBLIC: u8 = 1 << 1;
const CLOSED: u8 = 1 << 2;
const CLOSED_BY: u8 = 1 << 3;
const SEQ_LAST: u8 = 1 << 4;
const FORK: u8 = 1 << 5;
const SOFT_DELETED: u8 = 1 << 6;

/// The part of a head that the store itself needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadPrefix {
    pub(crate) incarnation: u64,
    pub(crate) version: u64,
    pub(crate) tail: u64,
    pub(crate) deadline_ms: Option<u64>,
}

impl HeadPrefix {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(&mut Input(bytes))
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            incarnation: input.number()?,
            version: input.number()?,
            tail: input.number()?,
            deadline_ms: input.option()?,
        })
    }

    pub(crate) const fn of(head: &StreamHead) -> Self {
        let StreamHead { incarnation, version, tail, deadline_ms, .. } = *head;
        Self { incarnation: incarnation.get(), version, tail, deadline_ms }
    }

    pub(crate) const fn state(self) -> StreamState {
        let Self { incarnation, version, tail, .. } = self;
        StreamState { version, incarnation: Incarnation::new(incarnation), tail }
    }

    fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.incarnation);
        put_number(out, self.version);
        put_number(out, self.tail);
        put_option(out, self.deadline_ms);
    }
}

pub(crate) fn encode(head: &StreamHead, out: &mut Vec<u8>) {
    HeadPrefix::of(head).write(out);
    let visibility = match head.visibility {
        Some(Visibility::Private) => PRIVATE,
        Some(Visibility::Public) => PUBLIC,
        None => 0,
    };
    let closed_by = head.closed.as_ref().and_then(|closure| closure.by.as_ref());
    let flag = |is_set, bit| if is_set { bit } else { 0 };
    out.push(
        visibility
            | flag(head.closed.is_some(), CLOSED)
            | flag(closed_by.is_some(), CLOSED_BY)
            | flag(head.seq_last.is_some(), SEQ_LAST)
            | flag(head.fork.is_some(), FORK)
            | flag(head.soft_deleted, SOFT_DELETED),
    );
    match head.lifetime {
        Lifetime::Unlimited => put_number(out, 0),
        Lifetime::Sliding { ttl_s } => {
            put_number(out, 1);
            put_number(out, ttl_s);
        }
        Lifetime::Until { expires_at_ms } => {
            put_number(out, 2);
            put_number(out, expires_at_ms);
        }
    }
    put_bytes(out, head.content_type.as_str().as_bytes());
    put_number(out, head.changed_ms);
    put_number(out, u64::from(head.forks));
    put_number(out, head.ancestors.len() as u64);
    for ancestor in &head.ancestors {
        put_number(out, ancestor.incarnation.get());
        put_number(out, ancestor.until);
    }
    if let Some(claim) = closed_by {
        put_bytes(out, claim.id.as_str().as_bytes());
        put_number(out, claim.epoch);
        put_number(out, claim.seq);
    }
    if let Some(seq) = &head.seq_last {
        put_bytes(out, seq);
    }
    if let Some(fork) = &head.fork {
        put_bytes(out, fork.source.as_str().as_bytes());
        put_number(out, fork.source_incarnation.get());
        match fork.offset {
            None => put_number(out, 0),
            Some(ReadFrom::Start) => put_number(out, 1),
            Some(ReadFrom::Now) => put_number(out, 2),
            Some(ReadFrom::At(offset)) => {
                put_number(out, 3);
                put_number(out, offset.incarnation.get());
                put_number(out, offset.position);
            }
        }
        put_number(out, fork.sub_offset);
        put_number(out, u64::from(fork.depth));
    }
}

pub(crate) fn decode(bytes: &[u8]) -> Result<StreamHead, Malformed> {
    let mut input = Input(bytes);
    let HeadPrefix { incarnation, version, tail, deadline_ms } = HeadPrefix::read(&mut input)?;
    let flags = input.byte()?;
    let has = |bit| flags & bit != 0;
    let lifetime = lifetime(&mut input)?;
    let content_type = ContentType::parse(input.text()?).map_err(|_| Malformed)?;
    let changed_ms = input.number()?;
    let forks = input.small()?;
    let ancestors = (0..input.number()?)
        .map(|_| Ok(Ancestor { incarnation: self::incarnation(input.number()?)?, until: input.number()? }))
        .collect::<Result<_, _>>()?;
    let by = if has(CLOSED_BY) {
        let id = ProducerId::parse(input.text()?).map_err(|_| Malformed)?;
        Some(Claim { id, epoch: input.number()?, seq: input.number()? })
    } else {
        None
    };
    let seq_last = if has(SEQ_LAST) { Some(input.bytes()?.into()) } else { None };
    let fork = if has(FORK) { Some(decode_fork(&mut input)?) } else { None };
    input.end()?;
    let mut head = StreamHead::new(self::incarnation(incarnation)?, content_type);
    head.version = version;
    head.lifetime = lifetime;
    head.deadline_ms = deadline_ms;
    head.visibility = match (has(PUBLIC), has(PRIVATE)) {
        (true, _) => Some(Visibility::Public),
        (false, true) => Some(Visibility::Private),
        (false, false) => None,
    };
    head.tail = tail;
    head.closed = has(CLOSED).then_some(Closure { by });
    head.changed_ms = changed_ms;
    head.seq_last = seq_last;
    head.fork = fork;
    head.ancestors = ancestors;
    head.forks = forks;
    head.soft_deleted = has(SOFT_DELETED);
    Ok(head)
}

fn lifetime(input: &mut Input<'_>) -> Result<Lifetime, Malformed> {
    Ok(match input.number()? {
        0 => Lifetime::Unlimited,
        1 => Lifetime::Sliding { ttl_s: input.number()? },
        2 => Lifetime::Until { expires_at_ms: input.number()? },
        _ => return Err(Malformed),
    })
}

fn decode_fork(input: &mut Input<'_>) -> Result<ForkOrigin, Malformed> {
    Ok(ForkOrigin {
        source: StreamName::new(input.text()?).map_err(|_| Malformed)?,
        source_incarnation: incarnation(input.number()?)?,
        offset: match input.number()? {
            0 => None,
            1 => Some(ReadFrom::Start),
            2 => Some(ReadFrom::Now),
            3 => Some(ReadFrom::At(Offset {
                incarnation: incarnation(input.number()?)?,
                position: input.number()?,
            })),
            _ => return Err(Malformed),
        },
        sub_offset: input.number()?,
        depth: input.small()?,
    })
}

fn incarnation(number: u64) -> Result<Incarnation, Malformed> {
    Incarnation::new(number).ok_or(Malformed)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn incarnations() -> impl Strategy<Value = Incarnation> {
        (1..=Incarnation::MAX).prop_map(|number| Incarnation::new(number).unwrap())
    }

    fn origins() -> impl Strategy<Value = ForkOrigin> {
        let at = (incarnations(), any::<u64>())
            .prop_map(|(incarnation, position)| ReadFrom::At(Offset { incarnation, position }));
        let offset = prop::option::of(prop_oneof![Just(ReadFrom::Start), Just(ReadFrom::Now), at]);
        ("[a-z]{1,9}(/[a-z]{1,9})?", incarnations(), offset, any::<u64>(), any::<u16>()).prop_map(
            |(source, source_incarnation, offset, sub_offset, depth)| ForkOrigin {
                source: StreamName::new(&source).unwrap(),
                source_incarnation,
                offset,
                sub_offset,
                depth,
            },
        )
    }

    pub(crate) fn heads() -> impl Strategy<Value = StreamHead> {
        let lifetimes = prop_oneof![
            Just(Lifetime::Unlimited),
            any::<u64>().prop_map(|ttl_s| Lifetime::Sliding { ttl_s }),
            any::<u64>().prop_map(|expires_at_ms| Lifetime::Until { expires_at_ms }),
        ];
        let visibilities = prop::option::of(prop_oneof![Just(Visibility::Public), Just(Visibility::Private)]);
        let claims = ("[a-z]{1,9}", any::<u64>(), any::<u64>()).prop_map(|(id, epoch, seq)| Claim {
            id: ProducerId::parse(&id).unwrap(),
            epoch,
            seq,
        });
        let closures = prop::option::of(prop::option::of(claims).prop_map(|by| Closure { by }));
        let ancestors = prop::collection::vec(
            (incarnations(), any::<u64>()).prop_map(|(incarnation, until)| Ancestor { incarnation, until }),
            0..4,
        );
        let seqs =
            prop::option::of(prop::collection::vec(any::<u8>(), 0..20).prop_map(Vec::into_boxed_slice));
        let numbers =
            (incarnations(), any::<u64>(), any::<u64>(), prop::option::of(0..u64::MAX), any::<u64>());
        (
            numbers,
            lifetimes,
            visibilities,
            closures,
            seqs,
            prop::option::of(origins()),
            ancestors,
            (any::<u32>(), any::<bool>()),
        )
            .prop_map(
                |(
                    numbers,
                    lifetime,
                    visibility,
                    closed,
                    seq_last,
                    fork,
                    ancestors,
                    (forks, soft_deleted),
                )| {
                    let (incarnation, version, tail, deadline_ms, changed_ms) = numbers;
                    let content_type = ContentType::parse("text/plain; charset=utf-8").unwrap();
                    let mut head = StreamHead::new(incarnation, content_type);
                    head.version = version;
                    head.lifetime = lifetime;
                    head.deadline_ms = deadline_ms;
                    head.visibility = visibility;
                    head.tail = tail;
                    head.closed = closed;
                    head.changed_ms = changed_ms;
                    head.seq_last = seq_last;
                    head.fork = fork;
                    head.ancestors = ancestors;
                    head.forks = forks;
                    head.soft_deleted = soft_deleted;
                    head
                },
            )
    }

    proptest! {
        #[test]
        fn heads_come_back(head in heads()) {
            let mut bytes = Vec::new();
            encode(&head, &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(head.clone()));
            let prefix = HeadPrefix::decode(&bytes).unwrap();
            prop_assert_eq!((prefix.version, prefix.tail), (head.version, head.tail));
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn an_append_is_told_from_all_else(head in heads(), other in heads(), size in 0..9usize, changed_ms: u64) {
            let mut after = head.clone();
            after.version = head.version.wrapping_add(1);
            after.tail = head.tail.wrapping_add(size as u64);
            after.changed_ms = changed_ms;
            let fits = head.version < u64::MAX && head.tail <= u64::MAX - size as u64;
            prop_assert_eq!(head.is_append(&after, size), fits);
            prop_assert!(!head.is_append(&after, size + 1));
            prop_assert!(!other.is_append(&after, size) || other == head);
        }

        #[test]
        fn garbage_is_malformed_at_worst(bytes: Vec<u8>) {
            let _ = decode(&bytes);
        }
    }
}
