//! Panics as errors, for runs that go on after one of their parts has failed.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static PANICKED_AT: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics off the terminal and remembers their places for [`catch`].
pub fn silence() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        PANICKED_AT.set(place);
    }));
}

/// Runs `work`.
///
/// # Errors
/// The message of the panic that ended it, with its place after [`silence`].
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let place = PANICKED_AT.take();
        if place.is_empty() { message(&*payload) } else { format!("{}\nat {place}", message(&*payload)) }
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}
