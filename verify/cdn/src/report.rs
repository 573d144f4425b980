//! The results of the runs: a line each as they end, a table, JSON, and a picture.

mod picture;

use headwater_testkit::table;
use serde_json::{Value, json};

use crate::run::{Outcome, Stage};
use crate::scenario::Scenario;

pub(crate) use picture::draw as picture;

/// The scenarios and what they do.
pub(crate) fn list(scenarios: &[Scenario]) -> String {
    let rows: Vec<Vec<String>> =
        scenarios.iter().map(|scenario| vec![scenario.name.to_owned(), scenario.what.to_owned()]).collect();
    table::render(&["scenario", "what happens"], &rows)
}

/// Formats a run as a line.
pub(crate) fn line(outcome: &Outcome) -> String {
    let Outcome { scenario, kind, tally, origin, broken, .. } = outcome;
    let (requests, asked) = (tally.requests, origin.requests);
    let end = if broken.is_empty() { "right" } else { "BROKEN" };
    format!("{scenario} behind {}: {requests} requests, {asked} at the origin, {end}", kind.name())
}

/// The table, and what is broken.
pub(crate) fn text(outcomes: &[Outcome]) -> String {
    let header = [
        "scenario",
        "cache",
        "viewers",
        "messages",
        "requests",
        "origin",
        "from edge %",
        "collapse",
        "origin bytes %",
        "p50 ms",
        "p99 ms",
        "closure s",
        "stale s",
        "every message once",
    ];
    let rows: Vec<Vec<String>> = outcomes.iter().map(row).collect();
    let mut text = table::render(&header, &rows);
    text.push_str(
        "\ncollapse: viewer requests per origin request. origin bytes: of those that viewers got. p50, p99: from a \
         message's\nsending to a viewer who waited for it. closure: until the last viewer knew. stale: the oldest \"up to \
         date\" that wasn't.\n",
    );
    for outcome in outcomes {
        for broken in &outcome.broken {
            text.push_str(&format!("{} behind {}: {broken}\n", outcome.scenario, outcome.kind.name()));
        }
    }
    text
}

fn row(outcome: &Outcome) -> Vec<String> {
    let Outcome { tally, origin, .. } = outcome;
    let milliseconds = |quantile| tally.delivery_ms(quantile).map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    let closure =
        tally.closure_learnt_max().map_or("-".to_owned(), |max| format!("{:.2}", max.as_secs_f64()));
    vec![
        outcome.scenario.to_owned(),
        outcome.kind.name().to_owned(),
        outcome.viewers.to_string(),
        outcome.messages.to_string(),
        tally.requests.to_string(),
        origin.requests.to_string(),
        format!("{:.2}", outcome.hit_percent()),
        format!("{:.1}", outcome.collapse()),
        format!("{:.2}", outcome.bytes_percent()),
        milliseconds(0.5),
        milliseconds(0.99),
        closure,
        format!("{:.2}", tally.stale.as_secs_f64()),
        if outcome.broken.is_empty() { "yes" } else { "NO" }.to_owned(),
    ]
}

/// All figures, as JSON.
pub(crate) fn document(outcomes: &[Outcome], stage: &Stage) -> Value {
    let runs = outcomes.iter().map(|outcome| {
        let Outcome { tally, origin, .. } = outcome;
        let responses: serde_json::Map<String, Value> =
            tally.responses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
        json!({
            "scenario": outcome.scenario,
            "what": outcome.what,
            "cache": outcome.kind.name(),
            "viewers": outcome.viewers,
            "messages": outcome.messages,
            "viewer_requests": tally.requests,
            "viewer_bytes": tally.bytes,
            "viewer_answers": responses,
            "origin_requests": origin.requests,
            "origin_revalidated": origin.revalidated,
            "origin_bytes": origin.bytes,
            "collapse": outcome.collapse(),
            "from_edge_percent": outcome.hit_percent(),
            "delivery_p50_ms": tally.delivery_ms(0.5),
            "delivery_p99_ms": tally.delivery_ms(0.99),
            "delivery_p999_ms": tally.delivery_ms(0.999),
            "closure_learnt_s": tally.closure_learnt_max().map(|max| max.as_secs_f64()),
            "stale_s": tally.stale.as_secs_f64(),
            "connections_broken": tally.broken,
            "answers_unavailable": tally.unavailable,
            "broken": outcome.broken,
        })
    });
    json!({
        "viewers": stage.viewers,
        "secs": stage.duration.as_secs_f64(),
        "runs": runs.collect::<Vec<_>>(),
    })
}
