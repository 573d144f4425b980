//! The store counts what it really takes: the allocator says how much that is.

use std::alloc::System;

use bytes::Bytes;
use cap::Cap;
use headwater_protocol::{
    expiry::Lifetime,
    producer::{ProducerId, ProducerState},
    stream::{Change, StreamHead},
};
use headwater_store::{
    Commit, Edit, Store,
    contract::{head, name, run},
};
use headwater_store_mem::MemStore;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

const LIMIT: u64 = 8 << 20;

/// Makes the edit of a number, from 1.
type EditOf = Box<dyn FnMut(u64) -> Edit>;

/// Fills a store with edits of one kind, and returns the memory that it takes.
fn filled(mut edit: impl FnMut(u64) -> Edit) -> u64 {
    let before = ALLOCATOR.allocated();
    let store = MemStore::new(LIMIT);
    run(async {
        for number in 1.. {
            if store.commit(Commit::new(vec![edit(number)])).await.is_err() {
                assert!(number > 5, "it is full at once");
                break;
            }
        }
    });
    let taken = ALLOCATOR.allocated() - before;
    drop(store);
    taken as u64
}

fn put(text: &str, change: Change) -> Edit {
    Edit::Put { name: name(text), expected: change.head.version - 1, change }
}

fn change(head: StreamHead, bytes: Vec<u8>, producer: Option<(ProducerId, ProducerState)>) -> Change {
    Change { head, bytes: Bytes::from(bytes), producer }
}

const PRODUCER: ProducerState = ProducerState { epoch: 0, seq_last: 0 };

/// One test for all: others would allocate meanwhile.
#[test]
fn a_full_store_takes_the_memory_that_it_may() {
    let kinds: [(&str, EditOf); 7] = [
        ("one-byte appends", Box::new(|n| put("a", change(head(7, n, n), vec![b'x'], None)))),
        (
            "appends of 1,000 bytes",
            Box::new(|n| put("a", change(head(7, n, n * 1_000), vec![b'x'; 1_000], None))),
        ),
        (
            "appends of 300,000 bytes",
            Box::new(|n| put("a", change(head(7, n, n * 300_000), vec![b'x'; 300_000], None))),
        ),
        ("streams", Box::new(|n| put(&format!("stream-{n}"), change(head(n, 1, 0), vec![], None)))),
        (
            "streams with a byte and a deadline",
            Box::new(|n| {
                let mut head = head(n, 1, 1);
                head.lifetime = Lifetime::Sliding { ttl_s: 60 };
                head.deadline_ms = Some(n);
                put(&format!("stream-{n}"), change(head, vec![b'x'], None))
            }),
        ),
        (
            "streams with long names",
            Box::new(|n| put(&format!("{n:0900}"), change(head(n, 1, 0), vec![], None))),
        ),
        (
            "producers",
            Box::new(|n| {
                let id = ProducerId::parse(&format!("producer-{n}")).unwrap();
                put("a", change(head(7, n, n), vec![b'x'], Some((id, PRODUCER))))
            }),
        ),
    ];
    for (kind, edit) in kinds {
        let taken = filled(edit);
        println!("{kind}: {taken} of {LIMIT}");
        assert!((LIMIT * 3 / 4..=LIMIT * 5 / 4).contains(&taken), "{kind}: {taken} of {LIMIT}");
    }
}
