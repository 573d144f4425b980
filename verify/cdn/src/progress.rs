//! One line that says how far a run is, rewritten while it lasts; in a log, a line now and then.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::tally::Tally;

const STEP: Duration = Duration::from_millis(500);

/// The line.
pub(crate) struct Progress {
    what: String,
    tally: Rc<RefCell<Tally>>,
    viewers: usize,
    begun: Instant,
}

/// Clears the line when it is dropped.
struct Line;

impl Drop for Line {
    fn drop(&mut self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[2K");
        }
    }
}

impl Progress {
    pub(crate) fn new(what: String, tally: Rc<RefCell<Tally>>, viewers: usize) -> Self {
        Self { what, tally, viewers, begun: Instant::now() }
    }

    /// Shows it until it is aborted.
    pub(crate) async fn show(self) {
        let _line = Line;
        if !std::io::stderr().is_terminal() {
            eprintln!("{} ...", self.what);
            std::future::pending::<()>().await;
        }
        loop {
            let text = {
                let tally = self.tally.borrow();
                format!(
                    "\r\x1b[2K{}: {} s, {} requests, {} deliveries, {} of {} viewers done, {} misled",
                    self.what,
                    self.begun.elapsed().as_secs(),
                    tally.requests,
                    tally.deliveries.0.len(),
                    tally.finished,
                    self.viewers,
                    tally.wrongs().0,
                )
            };
            eprint!("{text}");
            let _ = std::io::stderr().flush();
            sleep(STEP).await;
        }
    }
}
