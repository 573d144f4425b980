//! The tables: a row for each contender with the medians of its rounds, and a row for each ratio.

use std::fmt::Write;

use headwater_testkit::table;

use crate::contender::Contender;
use crate::figures::{Figures, LOAD_CPU, Metric, median, shown};
use crate::run::Measurement;
use crate::workload::Workload;

/// The notes below the tables.
const LEGEND: &str = "Medians over rounds. A row `a : b` is a's figure divided by b's, the median of the rounds' \
                      ratios: above 1 a has more, which is better for what is per second and worse for all else.";

/// A table for every workload.
pub(crate) fn tables(workloads: &[Workload], measurements: &[Measurement]) -> String {
    let mut text = String::new();
    for workload in workloads {
        let summary = Summary::new(workload, measurements);
        // Writing to a String can't fail.
        let _ = writeln!(text, "\n{}: {}\n\n{}", workload.name, workload.what, summary.table());
        for line in summary.series().chain(summary.failures()) {
            let _ = writeln!(text, "{line}");
        }
    }
    text.push('\n');
    text.push_str(LEGEND);
    text
}

/// The measurements of one workload.
pub(crate) struct Summary<'a> {
    measurements: Vec<&'a Measurement>,
}

impl<'a> Summary<'a> {
    pub(crate) fn new(workload: &Workload, measurements: &'a [Measurement]) -> Self {
        let of_workload = |measurement: &&Measurement| measurement.workload == workload.name;
        Self { measurements: measurements.iter().filter(of_workload).collect() }
    }

    /// The measured contenders, in the order in which they are listed.
    pub(crate) fn contenders(&self) -> Vec<&'static Contender> {
        let measured = |contender: &&Contender| {
            self.measurements.iter().any(|measurement| measurement.contender.name == contender.name)
        };
        Contender::all().filter(measured).collect()
    }

    pub(crate) fn median(&self, contender: &Contender, metric: Metric) -> Option<f64> {
        median(self.rounds(contender).filter_map(|(_, figures)| figures.value(metric)).collect())
    }

    /// The median of what each round that both finished says: rounds are where they are comparable.
    fn ratio(&self, ours: &Contender, peer: &Contender, metric: Metric) -> Option<f64> {
        let ratios = self.rounds(ours).filter_map(|(round, figures)| {
            let (_, of_peer) = self.rounds(peer).find(|(of_peer, _)| *of_peer == round)?;
            let divisor = of_peer.value(metric).filter(|value| *value > 0.0)?;
            Some(figures.value(metric)? / divisor)
        });
        median(ratios.collect())
    }

    fn rounds(&self, contender: &Contender) -> impl Iterator<Item = (u32, &'a Figures)> {
        self.measurements
            .iter()
            .filter(move |measurement| measurement.contender.name == contender.name)
            .filter_map(|measurement| Some((measurement.round, measurement.outcome.as_ref().ok()?)))
    }

    /// The metrics of all measurements, in the order of their first occurrence.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for figures in self.measurements.iter().filter_map(|measurement| measurement.outcome.as_ref().ok()) {
            for (metric, _) in figures.values() {
                if !metrics.contains(&metric) {
                    metrics.push(metric);
                }
            }
        }
        metrics
    }

    fn table(&self) -> String {
        let metrics = self.metrics();
        let header: Vec<&str> =
            std::iter::once("contender").chain(metrics.iter().map(|metric| metric.title)).collect();
        let row = |name: String, value: &dyn Fn(Metric) -> Option<f64>| {
            let cell = |&metric: &Metric| value(metric).map_or_else(|| "-".to_owned(), shown);
            std::iter::once(name).chain(metrics.iter().map(cell)).collect::<Vec<String>>()
        };
        let contenders = self.contenders();
        let mut rows: Vec<Vec<String>> = contenders
            .iter()
            .map(|contender| row(contender.name.to_owned(), &|metric| self.median(contender, metric)))
            .collect();
        for ours in contenders.iter().filter(|contender| contender.is_ours()) {
            for peer in contenders.iter().filter(|contender| !contender.is_ours()) {
                let name = format!("{} : {}", ours.name, peer.name);
                // What we spend ourselves is no merit of either.
                let ratio = |metric| if metric == LOAD_CPU { None } else { self.ratio(ours, peer, metric) };
                rows.push(row(name, &ratio));
            }
        }
        table::render(&header, &rows)
    }

    /// The seconds of each contender's last round, for workloads that show them.
    fn series(&self) -> impl Iterator<Item = String> {
        self.contenders().into_iter().filter_map(|contender| {
            let (_, figures) = self.rounds(contender).last()?;
            let seconds = &figures.per_second;
            let (least, most) = (seconds.iter().min()?, seconds.iter().max()?);
            Some(format!("{}: each second, {least} to {most}: {}", contender.name, bars(seconds, *most)))
        })
    }

    fn failures(&self) -> impl Iterator<Item = String> {
        self.measurements.iter().filter_map(|measurement| {
            let error = measurement.outcome.as_ref().err()?;
            Some(format!("{} failed in round {}: {error:#}", measurement.contender.name, measurement.round))
        })
    }
}

/// A bar for each value, as high as it is of the most.
fn bars(values: &[u64], most: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |&value: &u64| {
        let eighth = (value * 8).checked_div(most).unwrap_or(0).min(7);
        usize::try_from(eighth).ok().and_then(|at| BARS.get(at)).copied().unwrap_or(' ')
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::figures::{OPERATIONS, P99};

    fn contender(name: &str) -> &'static Contender {
        Contender::all().find(|contender| contender.name == name).unwrap()
    }

    fn measurement(name: &str, round: u32, figures: Option<(f64, f64)>) -> Measurement {
        let outcome = figures.ok_or_else(|| anyhow!("it fell over")).map(|(operations, p99)| {
            let mut figures = Figures::default();
            figures.add(OPERATIONS, operations);
            figures.add(P99, p99);
            figures
        });
        Measurement { workload: "append-1x1".to_owned(), contender: contender(name), round, outcome }
    }

    fn workload() -> Workload {
        Workload::select(&["append-1x1".to_owned()]).unwrap().remove(0)
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        // The machine was half as fast in the third round: the medians alone would say 1.00.
        let all = [
            measurement("headwater", 1, Some((200.0, 1.0))),
            measurement("ds-wal", 1, Some((100.0, 1.0))),
            measurement("headwater", 2, Some((210.0, 1.0))),
            measurement("headwater", 3, Some((100.0, 1.0))),
            measurement("ds-wal", 3, Some((50.0, 1.0))),
        ];
        let workload = workload();
        let summary = Summary::new(&workload, &all);
        let (ours, peer) = (contender("headwater"), contender("ds-wal"));
        assert_eq!(summary.ratio(ours, peer, OPERATIONS), Some(2.0));
        assert_eq!(summary.median(ours, OPERATIONS), Some(200.0));
        assert_eq!(summary.median(peer, OPERATIONS), Some(75.0));
        assert_eq!(summary.ratio(ours, contender("node"), OPERATIONS), None);
    }

    #[test]
    fn a_table_has_a_row_a_contender_and_a_ratio_a_peer() {
        let all = [
            measurement("ds-wal", 1, Some((50_000.0, 2.0))),
            measurement("headwater", 1, Some((60_000.0, 1.0))),
            measurement("node", 1, None),
        ];
        let text = tables(&[workload()], &all);
        let expected = "contender           ops/s  p99 ms\n\
                        ------------------  -----  ------\n\
                        headwater           60000    1.00\n\
                        ds-wal              50000    2.00\n\
                        node                    -       -\n\
                        headwater : ds-wal   1.20    0.50\n\
                        headwater : node        -       -\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("node failed in round 1: it fell over"), "{text}");
    }

    #[test]
    fn seconds_are_bars() {
        assert_eq!(bars(&[0, 50, 100], 100), "▁▅█");
        assert_eq!(bars(&[0], 0), "▁");
    }
}
