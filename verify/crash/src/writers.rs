//! Writers: each goes on after a crash where the crash has left it.

mod closing;
mod deleting;
mod expiring;
mod forking;
mod plain;
mod producing;
mod sequenced;
mod subscribing;

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use headwater_testkit::random::{self, Rng};

use crate::payload::Form;
use crate::requests::{Scene, Went, create};
use crate::stream::{Existence, Tracked};

/// A stream of more bytes isn't written any more.
const STREAM_BYTES: usize = 2 << 20;

/// A writer: sends one request after another until the server is gone.
pub(crate) trait Writer: Send {
    fn step(&mut self, scene: &Scene<'_>) -> Result<Went>;

    /// Checks what no stream shows, while nobody writes.
    fn look(&mut self, _scene: &Scene<'_>) -> Result<()> {
        Ok(())
    }
}

/// Writes until the server is gone.
pub(crate) fn run(scene: &Scene<'_>, writer: &mut dyn Writer) -> Result<()> {
    while !scene.is_over() {
        if writer.step(scene)? == Went::Lost {
            return Ok(());
        }
    }
    Ok(())
}

/// All kinds of writers, some of which share streams.
pub(crate) fn all(seed: u64) -> Vec<Box<dyn Writer>> {
    let mut ids = 0..;
    let mut next = move || {
        let id = ids.next().unwrap_or_default();
        (id, random::seeded(seed, &[0x7772_6974, id.into()]))
    };
    let track = |name, form| Arc::new(Track::new(name, form, seed));
    let (bytes, text) = (track("bytes", Form::Bytes), track("text", Form::Text));
    let (produced, json) = (track("produced", Form::Bytes), track("json", Form::Json));
    vec![
        Box::new(plain::Plain::new(next().0, bytes.clone())),
        Box::new(plain::Plain::new(next().0, bytes)),
        Box::new(plain::Plain::new(next().0, text)),
        Box::new(producing::Producing::new(next(), produced.clone())),
        Box::new(producing::Producing::new(next(), produced)),
        Box::new(producing::Producing::new(next(), json.clone())),
        Box::new(plain::Plain::new(next().0, json)),
        Box::new(sequenced::Sequenced::new(next(), track("sequenced", Form::Text))),
        Box::new(closing::Closing::new(next(), seed)),
        Box::new(forking::Forking::new(next(), seed)),
        Box::new(deleting::Deleting::new(next(), seed)),
        Box::new(expiring::Expiring::new(next(), seed)),
        Box::new(subscribing::Subscribing::new(next())),
    ]
}

/// A stream that is followed by another one when it has grown large.
#[derive(Debug)]
pub(crate) struct Track {
    name: &'static str,
    form: Form,
    seed: u64,
    current: Mutex<Option<Arc<Tracked>>>,
}

impl Track {
    pub(crate) fn new(name: &'static str, form: Form, seed: u64) -> Self {
        Self { name, form, seed, current: Mutex::new(None) }
    }

    /// The stream to write to; `None` if it can't be created now.
    fn stream(&self, scene: &Scene<'_>) -> Result<Option<Arc<Tracked>>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |stream: &Arc<Tracked>| stream.state().acknowledged_end > STREAM_BYTES;
        let stream = match current.as_ref().filter(|stream| !is_full(stream)) {
            Some(stream) => stream.clone(),
            None => {
                let stream = fresh(scene, self.name, self.form, self.seed);
                current.insert(stream).clone()
            }
        };
        if stream.existence() != Existence::There && create(scene, &stream, &[])?.0 != Went::Well {
            return Ok(None);
        }
        Ok(Some(stream))
    }
}

/// A stream of a name that none had before.
fn fresh(scene: &Scene<'_>, kind: &str, form: Form, seed: u64) -> Arc<Tracked> {
    let stream = Tracked::new(format!("{kind}/{}", scene.registry.number()), form, seed);
    scene.registry.add(stream.clone());
    stream
}

fn any_form(rng: &mut Rng) -> Form {
    match rng.u64(..3) {
        0 => Form::Bytes,
        1 => Form::Text,
        _ => Form::Json,
    }
}
