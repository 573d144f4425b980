//! Everything that was measured, for other programs: every round, and what it was measured on.

use std::fs;

use serde_json::{Value, json};

use crate::run::{Measurement, Plan};

/// All raw figures, and the circumstances.
pub(crate) fn document(plan: &Plan, measurements: &[Measurement]) -> Value {
    let contenders = plan.contenders.iter().map(|entrant| {
        json!({ "name": entrant.contender.name, "what": entrant.contender.what, "ours": entrant.contender.is_ours() })
    });
    let workloads = plan.workloads.iter().map(
        |workload| json!({ "name": workload.name, "what": workload.what, "headline": workload.headline.key }),
    );
    json!({
        "machine": machine(),
        "rounds": plan.rounds,
        "secs": plan.duration.map(|duration| duration.as_secs_f64()),
        "warm_up_s": plan.warm_up.as_secs_f64(),
        "streams": plan.streams,
        "contenders": contenders.collect::<Vec<_>>(),
        "workloads": workloads.collect::<Vec<_>>(),
        "measurements": measurements.iter().map(measurement).collect::<Vec<_>>(),
    })
}

fn measurement(measurement: &Measurement) -> Value {
    let mut value = json!({
        "workload": measurement.workload,
        "contender": measurement.contender.name,
        "round": measurement.round,
    });
    let (key, outcome) = match &measurement.outcome {
        Ok(figures) => {
            if !figures.per_second.is_empty() {
                insert(&mut value, "per_second", json!(figures.per_second));
            }
            let values = figures.values().map(|(metric, figure)| (metric.key.to_owned(), json!(figure)));
            ("figures", Value::Object(values.collect()))
        }
        Err(error) => ("error", json!(format!("{error:#}"))),
    };
    insert(&mut value, key, outcome);
    value
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Value::Object(fields) = object {
        fields.insert(key.to_owned(), value);
    }
}

fn machine() -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "cpu": model.map(|(_, model)| model),
        "kernel": kernel.trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Contender;
    use crate::figures::{Figures, P99};

    #[test]
    fn a_measurement_has_its_figures_or_its_error() {
        let contender = Contender::all().next().unwrap();
        let mut figures = Figures::default();
        figures.add(P99, 1.5);
        let of = |outcome| {
            measurement(&Measurement { workload: "mixed".to_owned(), contender, round: 2, outcome })
        };
        let good = of(Ok(figures));
        assert_eq!(good["figures"]["p99_ms"], 1.5);
        assert_eq!((&good["contender"], &good["round"]), (&json!(contender.name), &json!(2)));
        assert_eq!(of(Err(anyhow::anyhow!("gone")))["error"], "gone");
    }
}
