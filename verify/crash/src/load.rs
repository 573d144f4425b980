//! Everybody at once: the writers go on, the readers follow.

use std::thread;

use anyhow::{Result, anyhow};
use headwater_testkit::random::Rng;

use crate::readers::{self, Mode};
use crate::requests::Scene;
use crate::writers::{self, Writer};

const READERS: [Mode; 6] =
    [Mode::Events, Mode::Events, Mode::Events, Mode::LongPoll, Mode::LongPoll, Mode::CatchUp];

/// Writes and reads until `meanwhile` has ended the scene's phase.
pub(crate) fn run(
    scene: &Scene<'_>,
    writers: &mut [Box<dyn Writer>],
    rng: &mut Rng,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<()> {
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for writer in writers {
            threads.push(scope.spawn(move || writers::run(scene, writer.as_mut())));
        }
        for mode in READERS {
            let mut rng = Rng::with_seed(rng.u64(..));
            threads.push(scope.spawn(move || readers::run(scene, mode, &mut rng)));
        }
        let ended = meanwhile();
        scene.phase.end();
        let panicked = |_| Err(anyhow!("a thread of this program panicked"));
        let outcomes: Vec<Result<()>> =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect();
        // What was observed says more than how the server ended.
        outcomes.into_iter().collect::<Result<()>>().and(ended)
    })
}
