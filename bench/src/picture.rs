//! The picture: for every workload two small bar charts, what it is about and what it costs, as an SVG.

use std::fmt::Write;

use crate::contender::Contender;
use crate::figures::{Better, CPU_DELIVERY, CPU_MIB, CPU_OPERATION, KIB_STREAM, Metric, shown};
use crate::report::Summary;
use crate::run::Measurement;
use crate::workload::Workload;

const WIDTH: u32 = 960;
const MARGIN: u32 = 32;
const HEAD_HEIGHT: u32 = 72;
/// From the top of a workload to its first bar.
const TITLE_HEIGHT: u32 = 62;
const BAR_HEIGHT: u32 = 16;
/// From one bar to the next.
const BAR_STEP: u32 = 22;
const GAP: u32 = 8;
const NAME_WIDTH: u32 = 118;
/// The left edge of the second chart.
const SECOND_CHART: u32 = 560;
const FIRST_BAR_MAX: u32 = 310;
const SECOND_BAR_MAX: u32 = 280;
/// No bar is shorter, so that it can be seen.
const BAR_MIN: f64 = 2.0;

/// Ours in colour, peers in greys.
const OURS: [&str; 3] = ["#0f766e", "#14b8a6", "#99d5cb"];
const PEERS: [&str; 5] = ["#475569", "#7c8ba1", "#a3afbf", "#c8d0da", "#b08968"];

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
                     font-size:12px;fill:#334155}.h{font-size:20px;font-weight:650;fill:#0f172a}\
                     .w{font-size:14px;font-weight:650;fill:#0f172a}.n{fill:#64748b}.v{fill:#0f172a}";

/// Draws all workloads, one below the other.
pub(crate) fn draw(workloads: &[Workload], measurements: &[Measurement], rounds: u32) -> String {
    let mut body = String::new();
    let mut y = HEAD_HEIGHT;
    for workload in workloads {
        y = draw_workload(&mut body, y, workload, &Summary::new(workload, measurements));
    }
    let height = y + MARGIN - GAP;
    let plural = if rounds == 1 { "" } else { "s" };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"10\" fill=\"#ffffff\"/>\n\
         <text class=\"h\" x=\"{MARGIN}\" y=\"42\">Headwater beside its peers</text>\n\
         <text class=\"n\" x=\"{MARGIN}\" y=\"62\">medians of {rounds} alternating round{plural}; the load \
         generator shares the machine with the server</text>\n{body}</svg>\n"
    )
}

/// Draws a workload at `y` and says where the next one begins.
fn draw_workload(svg: &mut String, y: u32, workload: &Workload, summary: &Summary<'_>) -> u32 {
    let contenders = summary.contenders();
    // Writing to a String can't fail.
    let _ = writeln!(
        svg,
        "<line x1=\"{MARGIN}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" stroke=\"#e2e8f0\"/>\n\
         <text class=\"w\" x=\"{MARGIN}\" y=\"{2}\">{3}<tspan class=\"n\" font-size=\"12\" font-weight=\"400\" \
         dx=\"10\">{4}</tspan></text>",
        y + 4,
        WIDTH - MARGIN,
        y + 28,
        escaped(&workload.name),
        escaped(&workload.what),
    );
    let first = Chart { x: MARGIN, y: y + TITLE_HEIGHT, bar_max: FIRST_BAR_MAX, names: true };
    first.draw(svg, workload.headline, &contenders, summary);
    if let Some(cost) = cost(summary) {
        let second = Chart { x: SECOND_CHART, y: y + TITLE_HEIGHT, bar_max: SECOND_BAR_MAX, names: false };
        second.draw(svg, cost, &contenders, summary);
    }
    y + TITLE_HEIGHT + BAR_STEP * u32::try_from(contenders.len()).unwrap_or_default() + GAP
}

/// The metric of the second chart.
fn cost(summary: &Summary<'_>) -> Option<Metric> {
    let metrics = summary.metrics();
    [CPU_OPERATION, CPU_MIB, CPU_DELIVERY, KIB_STREAM].into_iter().find(|cost| metrics.contains(cost))
}

struct Chart {
    x: u32,
    y: u32,
    bar_max: u32,
    /// Whether the contenders are named here.
    names: bool,
}

impl Chart {
    fn draw(
        &self,
        svg: &mut String,
        metric: Metric,
        contenders: &[&'static Contender],
        summary: &Summary<'_>,
    ) {
        let bars_x = if self.names { self.x + NAME_WIDTH } else { self.x };
        let better = match metric.better {
            Better::More => "more is better",
            Better::Less => "less is better",
        };
        let title_y = self.y - 10;
        let title = escaped(metric.title);
        let _ = writeln!(svg, "<text class=\"n\" x=\"{bars_x}\" y=\"{title_y}\">{title}, {better}</text>");
        let value = |contender: &Contender| summary.median(contender, metric);
        let longest = contenders.iter().filter_map(|contender| value(contender)).fold(0.0, f64::max);
        let mut y = self.y;
        for contender in contenders {
            let text_y = y + BAR_HEIGHT - 4;
            if self.names {
                let name = escaped(contender.name);
                let _ = writeln!(svg, "<text x=\"{}\" y=\"{text_y}\">{name}</text>", self.x);
            }
            let (width, label) = match value(contender) {
                Some(value) if longest > 0.0 => {
                    ((value / longest * f64::from(self.bar_max)).max(BAR_MIN), shown(value))
                }
                Some(value) => (BAR_MIN, shown(value)),
                None => (0.0, "no figure".to_owned()),
            };
            let label_x = f64::from(bars_x) + width + 6.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{bars_x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\" \
                 fill=\"{}\"/><text class=\"v\" x=\"{label_x:.1}\" y=\"{text_y}\">{}</text>",
                colour(contender),
                grouped(&label),
            );
            y += BAR_STEP;
        }
    }
}

/// A contender has the same colour in every picture.
fn colour(contender: &Contender) -> &'static str {
    let palette: &[&'static str] = if contender.is_ours() { &OURS } else { &PEERS };
    let alike = Contender::all().filter(|other| other.is_ours() == contender.is_ours());
    let index = alike.take_while(|other| other.name != contender.name).count();
    palette.get(index % palette.len()).copied().unwrap_or("#000000")
}

/// `63232` as `63,232`.
fn grouped(number: &str) -> String {
    if number.len() < 4 || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut grouped = String::new();
    for (index, digit) in number.chars().enumerate() {
        if index > 0 && (number.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::figures::{Figures, OPERATIONS};

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            ["999", "1000", "63232", "1234567", "18.5", "failed"].map(grouped),
            ["999", "1,000", "63,232", "1,234,567", "18.5", "failed"]
        );
    }

    #[test]
    fn every_contender_has_its_colour() {
        let colours: HashSet<&str> = Contender::all().map(colour).collect();
        assert_eq!(colours.len(), Contender::all().count());
    }

    #[test]
    fn the_best_has_the_longest_bar_and_a_failure_has_none() {
        let workload = Workload::select(&["append-1x1".to_owned()]).unwrap().remove(0);
        let mut measurements = Vec::new();
        for (contender, value) in Contender::all().zip([Some(50.0), Some(100.0), None]) {
            let outcome = value.ok_or_else(|| anyhow::anyhow!("gone")).map(|value| {
                let mut figures = Figures::default();
                figures.add(OPERATIONS, value);
                figures
            });
            measurements.push(Measurement { workload: workload.name.clone(), contender, round: 1, outcome });
        }
        let svg = draw(std::slice::from_ref(&workload), &measurements, 1);
        assert!(svg.contains("width=\"310.0\"") && svg.contains("width=\"155.0\""), "{svg}");
        assert!(svg.contains(">no figure<") && svg.ends_with("</svg>\n"), "{svg}");
    }
}
