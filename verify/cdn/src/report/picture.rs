//! The picture: for every scenario and cache a bar of how many viewer requests one origin request served.

use std::fmt::Write;

use crate::proxy::Kind;
use crate::run::{Outcome, Stage};

const WIDTH: u32 = 960;
const MARGIN: u32 = 32;
const HEAD_HEIGHT: u32 = 80;
const STEP: u32 = 22;
const GAP: u32 = 12;
const NAMES_WIDTH: u32 = 230;
const BAR_MAX: f64 = 430.0;
const BAR_HEIGHT: u32 = 15;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
                     font-size:12px;fill:#334155}.h{font-size:20px;font-weight:650;fill:#0f172a}\
                     .n{fill:#64748b}.v{fill:#0f172a}";

/// Draws all runs. Bars are logarithmic: each grid line is ten times the one before.
pub(crate) fn draw(outcomes: &[Outcome], stage: &Stage) -> String {
    let mut body = String::new();
    let mut y = HEAD_HEIGHT;
    let mut last = "";
    let mut rows = String::new();
    let longest = outcomes.iter().map(Outcome::collapse).fold(10.0, f64::max).log10().ceil();
    for outcome in outcomes {
        if !last.is_empty() && last != outcome.scenario {
            y += GAP;
        }
        row(&mut rows, y, outcome, last != outcome.scenario, longest);
        last = outcome.scenario;
        y += STEP;
    }
    let bars_x = MARGIN + NAMES_WIDTH;
    let mut power = 0.0;
    while power <= longest {
        let x = f64::from(bars_x) + BAR_MAX * power / longest;
        let label = 10_f64.powf(power);
        // Writing to a String can't fail.
        let _ = writeln!(
            body,
            "<line x1=\"{x:.1}\" y1=\"{0}\" x2=\"{x:.1}\" y2=\"{y}\" stroke=\"#e2e8f0\"/>\
             <text class=\"n\" x=\"{x:.1}\" y=\"{1}\" text-anchor=\"middle\">{label}</text>",
            HEAD_HEIGHT - 6,
            HEAD_HEIGHT - 10,
        );
        power += 1.0;
    }
    let height = y + MARGIN;
    let (viewers, seconds) = (stage.viewers, stage.duration.as_secs());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" rx=\"10\" fill=\"#ffffff\"/>\n\
         <text class=\"h\" x=\"{MARGIN}\" y=\"40\">Viewer requests per origin request</text>\n\
         <text class=\"n\" x=\"{}\" y=\"40\" text-anchor=\"end\">{viewers} viewers, {seconds} s; all on one machine; \
         to the right: delivery p50 / p99</text>\n{body}{rows}</svg>\n",
        WIDTH - MARGIN
    )
}

fn row(svg: &mut String, y: u32, outcome: &Outcome, named: bool, longest: f64) {
    let text_y = y + BAR_HEIGHT - 3;
    let bars_x = MARGIN + NAMES_WIDTH;
    if named {
        let _ = writeln!(svg, "<text class=\"v\" x=\"{MARGIN}\" y=\"{text_y}\">{}</text>", outcome.scenario);
    }
    let colour = match outcome.kind {
        Kind::Varnish => "#0f766e",
        Kind::Nginx => "#7c8ba1",
    };
    let width = (outcome.collapse().max(1.0).log10() / longest * BAR_MAX).max(2.0);
    let delivery = match (outcome.tally.delivery_ms(0.5), outcome.tally.delivery_ms(0.99)) {
        (Some(middle), Some(late)) => format!("{middle:.0} / {late:.0} ms"),
        _ => String::new(),
    };
    let cache_x = bars_x - 8;
    let _ = writeln!(
        svg,
        "<text class=\"n\" x=\"{cache_x}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>\
         <rect x=\"{bars_x}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"3\" fill=\"{colour}\"/>\
         <text class=\"v\" x=\"{:.1}\" y=\"{text_y}\">{:.1}</text>\
         <text class=\"n\" x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{delivery}</text>",
        outcome.kind.name(),
        f64::from(bars_x) + width + 6.0,
        outcome.collapse(),
        WIDTH - MARGIN,
    );
}
