//! A script on all servers at once, step by step, and the first difference that nothing excuses.
//!
//! The first server is the measure. The Node reference server, if it takes part, is held to what the protocol fixes
//! ([`reference`](mod@crate::reference)); all others to every byte ([`normal`](crate::normal)).

use std::thread;

use headwater_testkit::Response;

use crate::client::{HEAD_START, Line, Outcome, Target};
use crate::normal::{Normalizer, Wording};
use crate::notes::Notes;
use crate::places::Places;
use crate::reference;
use crate::rules;
use crate::script::{Script, Slot, Step};
use crate::tally::Tally;
use crate::wire;

/// The name of the target that is the Node reference server.
pub(crate) const NODE: &str = "node";

/// The shown length of a line that is the same everywhere.
const SAME_SHOWN: usize = 100;

/// The bytes for each server; `None` for one that is set aside.
type Requests = Vec<Option<Vec<u8>>>;

/// The outcomes of requests.
type Outcomes = Vec<Option<Outcome>>;

/// All servers, as one worker talks to them.
pub(crate) struct Stage<'t> {
    targets: &'t [Target],
    lines: Vec<Line<'t>>,
    /// For what is sent while the first line waits.
    second_lines: Vec<Line<'t>>,
    comparison: Comparison,
}

/// The accepted differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// Those of [`rules::OURS`], between servers of one version.
    Servers,
    /// The wording of refusals, between versions of one server.
    Versions,
}

/// A difference that nothing excuses.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// The server that differs.
    pub(crate) target: String,
    /// The subject in a few words; shrinking preserves it.
    pub(crate) kind: String,
    /// The difference, for people.
    pub(crate) text: String,
}

/// One server's part of a script.
#[derive(Default)]
struct Part {
    notes: Notes,
    normalizer: Normalizer,
    /// For the reference server.
    places: Places,
    /// An accepted difference left it with other streams than the first server, so the rest is not comparable.
    is_set_aside: bool,
}

impl<'t> Stage<'t> {
    pub(crate) fn new(targets: &'t [Target], comparison: Comparison) -> Self {
        let lines = || targets.iter().map(Line::new).collect();
        Self { targets, lines: lines(), second_lines: lines(), comparison }
    }

    /// Plays a script on streams of its own, whose names begin with `prefix`, until servers differ.
    pub(crate) fn play(&mut self, script: &Script, prefix: &str, tally: &Tally) -> Option<Finding> {
        let wording = match self.comparison {
            Comparison::Servers => Wording::Exact,
            Comparison::Versions => Wording::Free,
        };
        let part = |_| Part { normalizer: Normalizer::new(wording), ..Part::default() };
        let mut parts: Vec<Part> = self.targets.iter().map(part).collect();
        let mut is_json = [false; Slot::COUNT];
        for (at, step) in script.steps.iter().enumerate() {
            let (requests, more_requests) = self.requests(step, &mut parts, prefix);
            let (outcomes, more_outcomes) = self.exchange(step, &requests, &more_requests);
            let exchanges = [
                step.meanwhile.as_deref().map(|second| (second, &more_outcomes, &more_requests)),
                Some((step, &outcomes, &requests)),
            ];
            for (step, outcomes, requests) in exchanges.into_iter().flatten() {
                let json = is_json.get_mut(step.slot.index())?;
                if let Some(Ok(first)) = outcomes.first().and_then(Option::as_ref) {
                    *json = says_json(step, first).unwrap_or(*json);
                }
                let judged = self.judge(step, outcomes, requests, *json, &mut parts, tally);
                if let Some(finding) = judged {
                    let text = format!("at step {}: {step}\n{}", at + 1, finding.text);
                    return Some(Finding { text, ..finding });
                }
            }
        }
        None
    }

    /// The requests of a step, and those of the step inside of it.
    fn requests(&self, step: &Step, parts: &mut [Part], prefix: &str) -> (Requests, Requests) {
        let encoded = |part: &Part, step: &Step| match parts.first() {
            Some(first) if !part.is_set_aside => wire::encode(step, &part.notes, &first.notes, prefix),
            _ => None,
        };
        let requests: Vec<_> = parts.iter().map(|part| encoded(part, step)).collect();
        let more = match step.meanwhile.as_deref() {
            Some(second) => parts.iter().map(|part| encoded(part, second)).collect(),
            None => Vec::new(),
        };
        for sent in [&requests, &more] {
            for (part, request) in parts.iter_mut().zip(sent) {
                part.is_set_aside |= request.is_none();
            }
        }
        (requests, more)
    }

    /// Sends to all servers, then receives from all.
    fn exchange(
        &mut self,
        step: &Step,
        requests: &[Option<Vec<u8>>],
        more_requests: &[Option<Vec<u8>>],
    ) -> (Outcomes, Outcomes) {
        send(&mut self.lines, requests);
        let more = step.meanwhile.as_deref().map(|second| {
            thread::sleep(HEAD_START);
            send(&mut self.second_lines, more_requests);
            receive(&mut self.second_lines, second, more_requests)
        });
        (receive(&mut self.lines, step, requests), more.unwrap_or_default())
    }

    /// Compares the responses to one request with the first server's.
    fn judge(
        &self,
        step: &Step,
        outcomes: &[Option<Outcome>],
        requests: &[Option<Vec<u8>>],
        is_json: bool,
        parts: &mut [Part],
        tally: &Tally,
    ) -> Option<Finding> {
        let (first, first_outcome) = self.targets.first().zip(outcomes.first()?.as_ref())?;
        let first_normal = parts.first_mut()?.normalizer.normal(first_outcome);
        for (((target, outcome), request), part) in self.targets.iter().zip(outcomes).zip(requests).zip(parts)
        {
            let Some(outcome) = outcome else { continue };
            tally.request(&target.name);
            let mut response = outcome.as_ref().ok();
            let finding = |kind: &str, text: String| Finding {
                target: target.name.clone(),
                kind: kind.to_owned(),
                text,
            };
            if let Some(wrong) = rules::always(step, request.as_deref().unwrap_or_default(), outcome)
                && target.name != NODE
            {
                return Some(finding(wrong, format!("{}: {wrong}\n{}", target.name, shown(outcome))));
            }
            if target.name == NODE {
                let exchange = rules::Exchange { step, first: first_outcome, other: outcome, is_json };
                match reference::compare(&exchange, &mut part.places) {
                    Ok(excuses) => {
                        for rule in &excuses {
                            tally.accepted(&target.name, rule.name);
                            part.is_set_aside |= !rule.goes_on;
                        }
                    }
                    Err(what) => {
                        let both = both(first, first_outcome, target, outcome);
                        return Some(finding(&what, format!("{what}\n{both}")));
                    }
                }
                // Where it answers with more than the first, its place is another one.
                response = response.filter(|_| !reference::is_partial(first_outcome));
            } else {
                let normal = part_normal(part, outcome, target, first, &first_normal);
                if normal != first_normal {
                    let exchange = rules::Exchange { step, first: first_outcome, other: outcome, is_json };
                    let what = kind(&first_normal, &normal);
                    let accepted = match self.comparison {
                        Comparison::Servers => rules::OURS,
                        Comparison::Versions => &[],
                    };
                    let Some(rule) = rules::excuse(accepted, &exchange, &what) else {
                        return Some(finding(&what, difference(first, &first_normal, target, &normal)));
                    };
                    tally.accepted(&target.name, rule.name);
                    part.is_set_aside |= !rule.goes_on;
                }
            }
            part.notes.push(step.slot, response);
        }
        None
    }
}

fn part_normal(part: &mut Part, outcome: &Outcome, target: &Target, first: &Target, normal: &str) -> String {
    // The first server's outcome was normalized already.
    if target.name == first.name { normal.to_owned() } else { part.normalizer.normal(outcome) }
}

fn send(lines: &mut [Line<'_>], requests: &[Option<Vec<u8>>]) {
    for (line, request) in lines.iter_mut().zip(requests) {
        if let Some(request) = request {
            line.send(request);
        }
    }
}

fn receive(lines: &mut [Line<'_>], step: &Step, requests: &[Option<Vec<u8>>]) -> Outcomes {
    let pairs = lines.iter_mut().zip(requests);
    pairs.map(|(line, request)| request.as_ref().map(|_| line.receive(step))).collect()
}

/// Whether the stream holds JSON, if the response says so.
fn says_json(step: &Step, response: &Response) -> Option<bool> {
    let tells = matches!(step.method, "PUT" | "HEAD" | "GET") && response.status < 300;
    let content_type = response.headers("Content-Type").first().map(|value| value.to_ascii_lowercase());
    content_type
        .filter(|value| tells && value != "text/event-stream")
        .map(|value| value.split(';').next().is_some_and(|essence| essence.trim() == "application/json"))
}

fn shown(outcome: &Outcome) -> String {
    match outcome {
        Ok(response) => response.to_string(),
        Err(error) => format!("no response: {error}"),
    }
}

fn both(first: &Target, first_outcome: &Outcome, target: &Target, outcome: &Outcome) -> String {
    let indented = |outcome| shown(outcome).replace('\n', "\n    ");
    format!("  {}\n    {}\n  {}\n    {}", first.name, indented(first_outcome), target.name, indented(outcome))
}

/// The lines that differ, with a sign for each server.
fn difference(first: &Target, first_normal: &str, target: &Target, normal: &str) -> String {
    let mut text = format!("  - {}\n  + {}\n", first.name, target.name);
    let missing = |from: &str, line: &str| !from.lines().any(|other| other == line);
    for line in first_normal.lines() {
        let sign = if missing(normal, line) { '-' } else { ' ' };
        // What all say needn't be read to its end.
        let shown = if sign == ' ' { line.get(..SAME_SHOWN).unwrap_or(line) } else { line };
        text.push_str(&format!("  {sign} {shown}\n"));
    }
    for line in normal.lines().filter(|line| missing(first_normal, line)) {
        text.push_str(&format!("  + {line}\n"));
    }
    text
}

/// The names of the lines that differ.
fn kind(first_normal: &str, normal: &str) -> String {
    let only = |one: &str, other: &str| -> Vec<String> {
        let lines = one.lines().filter(|line| !other.lines().any(|theirs| theirs == *line));
        lines.map(|line| name(line).to_owned()).collect()
    };
    let mut names = [only(first_normal, normal), only(normal, first_normal)].concat();
    names.sort();
    names.dedup();
    names.join(", ")
}

fn name(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, _)) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') => name,
        _ if line.len() == 3 && line.bytes().all(|byte| byte.is_ascii_digit()) => "status",
        _ => "body",
    }
}
