//! Random operations, restarts and crashes: the store must be indistinguishable from the reference store, which streams on.

use headwater_protocol::{producer::ProducerId, stream::Change};
use headwater_store::contract::{head, name};
use headwater_store_mem::MemStore;
use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "a/b", "b", "é"];

#[derive(Clone, Debug)]
enum Step {
    /// Append to a stream or create it, as this producer if any, with this deadline if any.
    Put {
        stream: usize,
        bytes: usize,
        producer: Option<u64>,
        deadline_ms: Option<u64>,
    },
    /// With a version that isn't the stored one.
    PutStale {
        stream: usize,
    },
    Remove {
        stream: usize,
    },
    /// Remove and create in one commit, with a document.
    Replace {
        stream: usize,
        bytes: usize,
    },
    Document {
        value: Option<u8>,
    },
    Checkpoint,
    Restart,
    Crash,
}

fn steps() -> impl Strategy<Value = Step> {
    let stream = 0..NAMES.len();
    let sizes = prop_oneof![4 => 0..40usize, 1 => 1_000..40_000usize, 1 => 200_000..400_000usize];
    prop_oneof![
        12 => (stream.clone(), sizes.clone(), prop::option::of(0..3u64), prop::option::of(1..50u64)).prop_map(
            |(stream, bytes, producer, deadline_ms)| Step::Put { stream, bytes, producer, deadline_ms }
        ),
        1 => stream.clone().prop_map(|stream| Step::PutStale { stream }),
        2 => stream.clone().prop_map(|stream| Step::Remove { stream }),
        2 => (stream, sizes).prop_map(|(stream, bytes)| Step::Replace { stream, bytes }),
        1 => prop::option::of(any::<u8>()).prop_map(|value| Step::Document { value }),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        1 => Just(Step::Crash),
    ]
}

/// Where a log begins: own logs of forks begin past zero.
const fn begin(incarnation: u64) -> u64 {
    incarnation % 2 * 100
}

/// Both stores, and what makes the next commit.
struct Pair {
    folder: TempDir,
    real: Option<RocksStore>,
    model: MemStore,
    incarnation: u64,
    seed: u8,
}

impl Pair {
    fn real(&self) -> &RocksStore {
        self.real.as_ref().unwrap()
    }

    fn commit(&self, edits: Vec<Edit>) {
        let real = wait(self.real().commit(Commit::new(edits.clone())));
        let model = wait(self.model.commit(Commit::new(edits)));
        assert_eq!(real, model);
    }

    fn bytes(&mut self, length: usize) -> Bytes {
        self.seed = self.seed.wrapping_add(1);
        (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(self.seed)).collect::<Vec<_>>().into()
    }

    fn creation(&mut self, length: usize) -> Change {
        self.incarnation += 1;
        let tail = begin(self.incarnation) + length as u64;
        Change { head: head(self.incarnation, 1, tail), bytes: self.bytes(length), producer: None }
    }

    fn step(&mut self, step: &Step) {
        let stored = |pair: &Self, stream: usize| wait(pair.model.load(&name(NAMES[stream]))).unwrap();
        match *step {
            Step::Put { stream, bytes, producer, deadline_ms } => {
                let stored = stored(self, stream);
                let expected = stored.as_ref().map_or(0, |head| head.version);
                let mut change = match stored {
                    None => self.creation(bytes),
                    Some(mut head) => {
                        head.version += 1;
                        head.tail += bytes as u64;
                        Change { head, bytes: self.bytes(bytes), producer: None }
                    }
                };
                change.head.deadline_ms = deadline_ms;
                change.producer = producer.map(|epoch| {
                    let state = ProducerState { epoch, seq_last: u64::from(self.seed) };
                    (ProducerId::parse(["p", "q", "r"][epoch as usize]).unwrap(), state)
                });
                self.commit(vec![Edit::Put { name: name(NAMES[stream]), expected, change }]);
            }
            Step::PutStale { stream } => {
                let expected = stored(self, stream).map_or(3, |head| head.version + 1);
                let change = self.creation(9);
                self.commit(vec![Edit::Put { name: name(NAMES[stream]), expected, change }]);
            }
            Step::Remove { stream } => {
                let expected = stored(self, stream).map_or(1, |head| head.version);
                self.commit(vec![Edit::Remove { name: name(NAMES[stream]), expected }]);
            }
            Step::Replace { stream, bytes } => {
                let name = name(NAMES[stream]);
                let remove = stored(self, stream)
                    .map(|head| Edit::Remove { name: name.clone(), expected: head.version });
                let put = Edit::Put { name, expected: 0, change: self.creation(bytes) };
                let document = Edit::Document { key: "k".into(), value: Some(Bytes::from_static(b"r")) };
                self.commit(remove.into_iter().chain([put, document]).collect());
            }
            Step::Document { value } => {
                let value = value.map(|byte| Bytes::from(vec![byte]));
                self.commit(vec![Edit::Document { key: "k".into(), value }]);
            }
            Step::Checkpoint => checkpoint(self.real()),
            Step::Restart => {
                drop(self.real.take());
                self.real = Some(open(self.folder.path()));
            }
            Step::Crash => {
                self.folder = crash(self.real.take().unwrap(), &self.folder);
                self.real = Some(open(self.folder.path()));
            }
        }
    }

    fn compare(&self) {
        let (real, model) = (self.real(), &self.model);
        assert_eq!(real.incarnation_last(), model.incarnation_last());
        assert_eq!(wait(real.document("k")), wait(model.document("k")));
        assert_eq!(wait(real.documents("", None, 9)), wait(model.documents("", None, 9)));
        for (prefix, after, limit) in
            [("", None, 9), ("a", None, 1), ("a", Some("a"), 9), ("", Some("a/b"), 2)]
        {
            let after = after.map(name);
            assert_eq!(
                wait(real.list(prefix, after.as_ref(), limit)),
                wait(model.list(prefix, after.as_ref(), limit))
            );
        }
        for (until_ms, limit) in [(10, 9), (60, 2), (60, 9)] {
            assert_eq!(wait(real.expired(until_ms, None, limit)), wait(model.expired(until_ms, None, limit)));
        }
        for text in NAMES {
            let head = wait(model.load(&name(text))).unwrap();
            assert_eq!(wait(real.load(&name(text))).unwrap(), head);
            let Some(head) = head else { continue };
            for id in ["p", "q", "r"] {
                let id = ProducerId::parse(id).unwrap();
                assert_eq!(
                    wait(real.producer(head.incarnation, &id)),
                    wait(model.producer(head.incarnation, &id))
                );
            }
            let begin = begin(head.incarnation.get());
            let half = begin + (head.tail - begin) / 2;
            for (from, target, limit) in [
                (begin, head.tail, head.tail),
                (begin, half, head.tail),
                (half, half, head.tail),
                (half, head.tail, head.tail),
                (half / 2 + begin / 2, half, half + 1),
                (head.tail, head.tail, head.tail),
            ] {
                let range = ReadRange::new(from, target).up_to(limit);
                let model = wait(model.read(head.incarnation, range)).unwrap();
                assert_eq!(wait(real.read(head.incarnation, range)), Ok(model), "{text} {range:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_the_reference_store_that_survives(steps in prop::collection::vec(steps(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let real = Some(open(folder.path()));
        let mut pair = Pair { folder, real, model: MemStore::new(1 << 30), incarnation: 0, seed: 0 };
        for step in steps {
            pair.step(&step);
            pair.compare();
        }
    }
}
