//! The contract as tests: `headwater_store::contract_tests!(make_store)` in a crate that implements [`Store`].

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "these are tests")]

use bytes::Bytes;
use headwater_protocol::{
    content_type::ContentType,
    offset::Incarnation,
    path::StreamName,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};

use crate::{Commit, Edit, ReadRange, Store, StoreError};

/// Runs one case.
pub fn run(case: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without drivers");
    runtime.block_on(case);
}

/// A head for tests: an open text stream.
#[must_use]
pub fn head(incarnation: u64, version: u64, tail: u64) -> StreamHead {
    let content_type = ContentType::parse("text/plain").unwrap();
    let mut head = StreamHead::new(Incarnation::new(incarnation).unwrap(), content_type);
    head.version = version;
    head.tail = tail;
    head
}

/// A head for tests: an open text stream with a deadline.
fn ending(incarnation: u64, version: u64, tail: u64, deadline_ms: Option<u64>) -> StreamHead {
    let mut head = head(incarnation, version, tail);
    head.deadline_ms = deadline_ms;
    head
}

/// A name for tests.
#[must_use]
pub fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

/// An edit that writes `head`, whose version is one more than the stored one, with `bytes` at its end.
#[must_use]
pub fn put(text: &str, head: StreamHead, bytes: &'static str) -> Edit {
    let change = Change { head, bytes: Bytes::from_static(bytes.as_bytes()), producer: None };
    Edit::Put { name: name(text), expected: change.head.version - 1, change }
}

fn one(edit: Edit) -> Commit {
    Commit::new(vec![edit])
}

fn range(from: u64, target: u64) -> ReadRange {
    ReadRange::new(from, target)
}

/// Three appends: `[0, 5)`, `[5, 11)`, `[11, 14)`.
async fn three_appends(store: &dyn Store) -> Incarnation {
    for (version, tail, bytes) in [(1, 5, "hello"), (2, 11, " world"), (3, 14, "..!")] {
        assert_eq!(store.commit(one(put("a", head(7, version, tail), bytes))).await, Ok(()));
    }
    head(7, 1, 0).incarnation
}

/// Defines the cases, and the macro that makes a test of each.
macro_rules! cases {
    ($dollar:tt $($(#[$doc:meta])* async fn $case:ident($store:ident) $body:block)*) => {
        $($(#[$doc])*
        pub async fn $case($store: &dyn Store) $body)*

        /// Makes a test of every case of the contract, each with a store of its own.
        #[macro_export]
        macro_rules! contract_tests {
            ($dollar make:expr) => {
                $(#[test]
                fn $case() {
                    $dollar crate::contract::run($dollar crate::contract::$case(&$dollar make()));
                })*
            };
        }
    };
}

cases! {
    $
    /// What a commit put, `load` gives; what nobody put is absent.
    async fn what_is_committed_is_loaded(store) {
        assert_eq!(store.load(&name("a")).await, Ok(None));
        let mut written = head(7, 1, 3);
        written.seq_last = Some((*b"x").into());
        assert_eq!(store.commit(one(put("a", written.clone(), "abc"))).await, Ok(()));
        assert_eq!(store.load(&name("a")).await, Ok(Some(written)));
        assert_eq!(store.load(&name("b")).await, Ok(None));
    }

    /// Any range gives exactly its bytes.
    async fn what_is_appended_is_read_byte_for_byte(store) {
        let incarnation = three_appends(store).await;
        let whole = b"hello world..!";
        for from in 0..14u64 {
            let chunk = store.read(incarnation, range(from, 14)).await.unwrap();
            assert_eq!((&chunk.bytes[..], chunk.end), (&whole[from as usize..], 14), "{from}");
        }
        let nothing = store.read(incarnation, range(14, 14)).await.unwrap();
        assert_eq!((nothing.bytes.len(), nothing.end), (0, 14));
        let stranger = head(8, 1, 0).incarnation;
        assert_eq!(store.read(stranger, range(0, 1)).await, Err(StoreError::Missing(stranger)));
    }

    /// The target is rounded up to a boundary, the limit isn't.
    async fn reads_end_at_the_first_append_boundary_at_or_after_the_target(store) {
        let incarnation = three_appends(store).await;
        for (from, target, end) in [(0, 1, 5), (0, 5, 5), (0, 6, 11), (3, 4, 5), (5, 11, 11), (11, 12, 14)] {
            let chunk = store.read(incarnation, range(from, target)).await.unwrap();
            assert_eq!(chunk.end, end, "{from} {target}");
            assert_eq!(chunk.bytes.len() as u64, end - from);
        }
        let limited = ReadRange::new(0, 6).up_to(8);
        assert_eq!(&store.read(incarnation, limited).await.unwrap().bytes[..], b"hello wo");
    }

    /// Where a read of that target ends, without the read.
    async fn the_end_of_a_range_is_found_without_its_bytes(store) {
        let incarnation = three_appends(store).await;
        for (position, end) in [(0, 0), (1, 5), (5, 5), (6, 11), (11, 11), (12, 14), (14, 14)] {
            assert_eq!(store.end_of(incarnation, position, u64::MAX).await, Ok(end), "{position}");
        }
        assert_eq!(store.end_of(incarnation, 6, 8).await, Ok(8));
        assert!(store.end_of(incarnation, 15, u64::MAX).await.is_err());
        let stranger = head(8, 1, 0).incarnation;
        assert_eq!(store.end_of(stranger, 0, 1).await, Err(StoreError::Missing(stranger)));
    }

    /// JSON depends on it.
    async fn reads_say_whether_they_begin_where_an_append_began(store) {
        let incarnation = three_appends(store).await;
        for from in 0..14 {
            let chunk = store.read(incarnation, range(from, 14)).await.unwrap();
            assert_eq!(chunk.aligned, [0, 5, 11].contains(&from), "{from}");
        }
    }

    /// Rule 5: nothing is there, and nothing else is given for it.
    async fn reads_that_begin_outside_of_a_log_are_errors(store) {
        let whole = three_appends(store).await;
        store.commit(one(put("fork", head(8, 1, 103), "abc"))).await.unwrap();
        let fork = head(8, 1, 103).incarnation;
        for (incarnation, from) in [(whole, 15), (whole, u64::MAX), (fork, 0), (fork, 99), (fork, 104)] {
            for target in [from, from.saturating_add(1), u64::MAX] {
                let read = store.read(incarnation, range(from, target)).await;
                assert!(read.is_err(), "{from} {target} {read:?}");
            }
        }
    }

    /// Rule 2.
    async fn stale_commits_change_nothing(store) {
        let incarnation = three_appends(store).await;
        let before = store.load(&name("a")).await;
        for version in [1, 2, 3, 5] {
            let refused = store.commit(one(put("a", head(7, version, 15), "x"))).await;
            assert!(matches!(refused, Err(StoreError::Stale { found: 3, .. })), "{version} {refused:?}");
        }
        let removal = Edit::Remove { name: name("a"), expected: 2 };
        assert!(matches!(store.commit(one(removal)).await, Err(StoreError::Stale { .. })));
        assert_eq!(store.load(&name("a")).await, before);
        assert_eq!(store.read(incarnation, range(0, 14)).await.unwrap().end, 14);
    }

    /// Rule 6. Forks and lives that begin anew begin where they want.
    async fn bytes_that_leave_a_gap_change_nothing(store) {
        let incarnation = three_appends(store).await;
        let before = store.load(&name("a")).await;
        for (tail, bytes) in [(13, ""), (14, "x"), (16, "x"), (2, "xyz"), (u64::MAX, "x")] {
            let refused = store.commit(one(put("a", head(7, 4, tail), bytes))).await;
            assert!(matches!(refused, Err(StoreError::Misplaced { tail: 14, .. })), "{tail} {refused:?}");
        }
        let too_short = store.commit(one(put("b", head(8, 1, 2), "xyz"))).await;
        assert!(matches!(too_short, Err(StoreError::Misplaced { .. })), "{too_short:?}");
        // Another incarnation begins where it wants, but only where there is no stream.
        for (tail, bytes) in [(0, ""), (14, ""), (15, "x"), (1, "x")] {
            let refused = store.commit(one(put("a", head(9, 4, tail), bytes))).await;
            assert!(matches!(refused, Err(StoreError::Misplaced { tail: 14, .. })), "{tail} {refused:?}");
        }
        // Nor after an edit of the same commit.
        let edits = vec![put("a", head(7, 4, 15), "x"), put("a", head(7, 5, 17), "y")];
        assert!(matches!(store.commit(Commit::new(edits)).await, Err(StoreError::Misplaced { tail: 15, .. })));
        assert_eq!(store.load(&name("a")).await, before);
        assert_eq!(store.load(&name("b")).await, Ok(None));
        assert_eq!(store.read(incarnation, range(0, 14)).await.unwrap().end, 14);
        assert_eq!(store.commit(one(put("a", head(7, 4, 15), "x"))).await, Ok(()));
    }

    /// Rule 1.
    async fn all_edits_of_a_commit_are_there_or_none(store) {
        three_appends(store).await;
        let document = Edit::Document { key: "d".into(), value: Some(Bytes::from_static(b"x")) };
        let mixed = Commit::new(vec![put("b", head(8, 1, 1), "b"), document.clone(), put("a", head(7, 9, 15), "x")]);
        assert!(store.commit(mixed).await.is_err());
        assert_eq!(store.load(&name("b")).await, Ok(None));
        assert_eq!(store.document("d").await, Ok(None));
        let replaced =
            Commit::new(vec![Edit::Remove { name: name("a"), expected: 3 }, put("a", head(9, 1, 1), "n"), document]);
        assert_eq!(store.commit(replaced).await, Ok(()));
        assert_eq!(store.load(&name("a")).await.unwrap().unwrap().incarnation.get(), 9);
        assert_eq!(store.document("d").await, Ok(Some(Bytes::from_static(b"x"))));
    }

    /// Rule 3: a later commit's ticket says that the earlier ones are durable too.
    async fn commits_of_one_stream_are_durable_in_order(store) {
        let tickets: Vec<_> =
            (1..=50).map(|version| store.commit(one(put("a", head(7, version, version), "x")))).collect();
        let mut tickets = tickets.into_iter().rev();
        assert_eq!(tickets.next().unwrap().await, Ok(()));
        assert_eq!(store.load(&name("a")).await.unwrap().unwrap().version, 50);
        for ticket in tickets {
            assert_eq!(ticket.await, Ok(()));
        }
        assert_eq!(store.read(head(7, 1, 0).incarnation, range(0, 50)).await.unwrap().bytes.len(), 50);
    }

    /// A recreated stream remembers nobody.
    async fn producers_belong_to_one_incarnation_of_a_stream(store) {
        let id = ProducerId::parse("p").unwrap();
        let state = ProducerState { epoch: 3, seq_last: 9 };
        let change = Change { head: head(7, 1, 1), bytes: Bytes::from_static(b"x"), producer: Some((id.clone(), state)) };
        let edit = Edit::Put { name: name("a"), expected: 0, change };
        assert_eq!(store.commit(one(edit)).await, Ok(()));
        assert_eq!(store.producer(head(7, 1, 1).incarnation, &id).await, Ok(Some(state)));
        assert_eq!(store.producer(head(8, 1, 1).incarnation, &id).await, Ok(None));
        assert_eq!(store.producer(head(7, 1, 1).incarnation, &ProducerId::parse("q").unwrap()).await, Ok(None));
    }

    /// Neither head nor bytes nor producers nor deadline.
    async fn removed_streams_leave_nothing(store) {
        let id = ProducerId::parse("p").unwrap();
        let state = ProducerState { epoch: 0, seq_last: 0 };
        let written = ending(7, 1, 1, Some(5));
        let incarnation = written.incarnation;
        let change = Change { head: written, bytes: Bytes::from_static(b"x"), producer: Some((id.clone(), state)) };
        store.commit(one(Edit::Put { name: name("a"), expected: 0, change })).await.unwrap();
        store.commit(one(Edit::Remove { name: name("a"), expected: 1 })).await.unwrap();
        assert_eq!(store.load(&name("a")).await, Ok(None));
        assert_eq!(store.read(incarnation, range(0, 1)).await, Err(StoreError::Missing(incarnation)));
        assert_eq!(store.producer(incarnation, &id).await, Ok(None));
        assert_eq!(store.expired(10, None, 10).await, Ok(vec![]));
        assert_eq!(store.list("", None, 10).await, Ok(vec![]));
    }

    /// Rule 7.
    async fn incarnations_never_go_back(store) {
        assert_eq!(store.incarnation_last(), 0);
        store.commit(one(put("a", head(9, 1, 0), ""))).await.unwrap();
        store.commit(one(put("b", head(7, 1, 0), ""))).await.unwrap();
        store.commit(one(Edit::Remove { name: name("a"), expected: 1 })).await.unwrap();
        assert_eq!(store.incarnation_last(), 9);
    }

    /// A fork's own log begins at the fork point.
    async fn a_log_may_begin_past_zero(store) {
        store.commit(one(put("fork", head(7, 1, 103), "abc"))).await.unwrap();
        store.commit(one(put("fork", head(7, 2, 105), "de"))).await.unwrap();
        let chunk = store.read(head(7, 1, 0).incarnation, range(100, 101)).await.unwrap();
        assert_eq!((&chunk.bytes[..], chunk.end, chunk.aligned), (&b"abc"[..], 103, true));
    }

    /// A deadline that moved or went away isn't found where it was.
    async fn deadlines_are_found_in_order_and_only_the_current_ones(store) {
        let until = |incarnation, deadline_ms, version| ending(incarnation, version, 0, deadline_ms);
        for (text, incarnation, deadline_ms) in [("late", 1, 30), ("early", 2, 10), ("middle", 3, 20)] {
            store.commit(one(put(text, until(incarnation, Some(deadline_ms), 1), ""))).await.unwrap();
        }
        store.commit(one(put("never", until(4, None, 1), ""))).await.unwrap();
        store.commit(one(put("later", until(5, Some(30), 1), ""))).await.unwrap();
        let expired = |until_ms, after: Option<(u64, &'static str)>, limit| async move {
            let after = after.map(|(deadline_ms, text)| (deadline_ms, name(text)));
            let page = store.expired(until_ms, after.as_ref(), limit).await.unwrap();
            page.into_iter().map(|(deadline_ms, name)| format!("{name} {deadline_ms}")).collect::<Vec<_>>()
        };
        assert!(expired(9, None, 10).await.is_empty());
        assert_eq!(expired(20, None, 10).await, ["early 10", "middle 20"]);
        assert_eq!(expired(99, None, 1).await, ["early 10"]);
        assert_eq!(expired(99, Some((10, "early")), 2).await, ["middle 20", "late 30"]);
        assert_eq!(expired(99, Some((30, "late")), 2).await, ["later 30"]);
        assert_eq!(expired(99, Some((15, "x")), 10).await, ["middle 20", "late 30", "later 30"]);
        store.commit(one(put("early", until(2, Some(40), 2), ""))).await.unwrap();
        store.commit(one(put("middle", until(3, None, 2), ""))).await.unwrap();
        assert_eq!(expired(35, None, 10).await, ["late 30", "later 30"]);
        assert_eq!(expired(99, None, 10).await, ["late 30", "later 30", "early 40"]);
    }

    /// Pages of names.
    async fn names_are_listed_in_byte_order(store) {
        for (text, incarnation) in ["b/1", "a", "b/2", "c", "b", "é"].into_iter().zip(1..) {
            store.commit(one(put(text, head(incarnation, 1, 0), ""))).await.unwrap();
        }
        let listed = |prefix, after: Option<&'static str>, limit| async move {
            let names = store.list(prefix, after.map(name).as_ref(), limit).await.unwrap();
            names.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(listed("", None, 10).await, ["a", "b", "b/1", "b/2", "c", "é"]);
        assert_eq!(listed("b/", None, 10).await, ["b/1", "b/2"]);
        assert_eq!(listed("b", Some("b"), 1).await, ["b/1"]);
        assert!(listed("b/", Some("c"), 10).await.is_empty());
        assert_eq!(listed("b/", Some("a"), 10).await, ["b/1", "b/2"]);
    }

    /// Control state.
    async fn documents_are_kept_and_removed(store) {
        let write = |value: Option<&'static str>| one(Edit::Document { key: "k".into(), value: value.map(|text| Bytes::from_static(text.as_bytes())) });
        assert_eq!(store.document("k").await, Ok(None));
        store.commit(write(Some("1"))).await.unwrap();
        store.commit(write(Some("2"))).await.unwrap();
        assert_eq!(store.document("k").await, Ok(Some(Bytes::from_static(b"2"))));
        store.commit(write(None)).await.unwrap();
        assert_eq!(store.document("k").await, Ok(None));
    }
    /// Pages of documents, as they are after all commits.
    async fn documents_are_listed_in_byte_order(store) {
        let write = |key: &str, value: Option<&'static str>| one(Edit::Document { key: key.into(), value: value.map(|text| Bytes::from_static(text.as_bytes())) });
        for (key, value) in [("b/1", "1"), ("a", "2"), ("b/2", "3"), ("b", "4"), ("c", "5"), ("b/3", "6")] {
            store.commit(write(key, Some(value))).await.unwrap();
        }
        store.commit(write("b/2", None)).await.unwrap();
        store.commit(write("b/3", Some("7"))).await.unwrap();
        let listed = |prefix, after: Option<&'static str>, limit| async move {
            let documents = store.documents(prefix, after, limit).await.unwrap();
            documents.iter().map(|(key, value)| format!("{key}={}", value.escape_ascii())).collect::<Vec<_>>()
        };
        assert_eq!(listed("", None, 10).await, ["a=2", "b=4", "b/1=1", "b/3=7", "c=5"]);
        assert_eq!(listed("b/", None, 10).await, ["b/1=1", "b/3=7"]);
        assert_eq!(listed("b", None, 2).await, ["b=4", "b/1=1"]);
        assert_eq!(listed("b", Some("b/1"), 10).await, ["b/3=7"]);
        assert_eq!(listed("b/", Some("a"), 1).await, ["b/1=1"]);
        assert!(listed("b/", Some("c"), 10).await.is_empty());
        assert_eq!(store.list("", None, 10).await, Ok(vec![]));
    }
}
