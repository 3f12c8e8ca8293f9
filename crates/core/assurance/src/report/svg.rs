//! Charts as SVG: stacked bars, whose colours come from the page's style sheet.

use std::fmt::Write as _;

use crate::{Verdict, text::escape};

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    /// How many of each verdict, in the order of [`Verdict::ALL`].
    pub(super) counts: [usize; 8],
}

impl Bar {
    pub(super) fn of(label: impl Into<String>, verdicts: impl Iterator<Item = Verdict>) -> Self {
        let mut counts = [0; 8];
        for verdict in verdicts {
            let places = Verdict::ALL.iter().zip(&mut counts).filter(|(known, _)| **known == verdict);
            places.for_each(|(_, count)| *count += 1);
        }
        Self { label: label.into(), counts }
    }

    pub(super) fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// `3 fail, 17 pass`.
    fn words(&self) -> String {
        let parts = Verdict::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        parts.map(|(verdict, count)| format!("{count} {verdict}")).collect::<Vec<_>>().join(", ")
    }
}

/// Heights, px; widths are shares of the page's, so that text is as large on a telephone.
const LABEL_HEIGHT: usize = 20;
const BAR_HEIGHT: usize = 20;
const STEP: usize = 50;
/// From this share of its bar on a part has room for its number, hundredths of a percent.
const NUMBERED_MIN: usize = 800;

/// Bars below each other, all of one length: each shows shares of its own total.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let height = bars.len() * STEP;
    let words: Vec<String> = bars.iter().map(|bar| format!("{}: {}", bar.label, bar.words())).collect();
    let words = format!("{title}. {}.", words.join("; "));
    let mut svg = String::new();
    // Text cannot fail to take text.
    let _ = write!(svg, "<svg role=\"img\" width=\"100%\" height=\"{height}\" aria-label=\"{}\">", escape(&words));
    for (at, bar) in bars.iter().enumerate() {
        one(&mut svg, bar, at * STEP);
    }
    svg.push_str("</svg>");
    svg
}

fn one(svg: &mut String, bar: &Bar, top: usize) {
    let baseline = top + LABEL_HEIGHT * 3 / 4;
    let total = bar.total();
    let _ = write!(
        svg,
        "<g><title>{0}: {1}</title><text y=\"{baseline}\">{0}</text>\
         <text x=\"100%\" y=\"{baseline}\" text-anchor=\"end\">{total}</text>",
        escape(&bar.label),
        bar.words(),
    );
    let (bar_top, number_line) = (top + LABEL_HEIGHT, top + LABEL_HEIGHT + BAR_HEIGHT * 3 / 4);
    let mut before = 0;
    for (verdict, count) in Verdict::ALL.iter().zip(bar.counts).filter(|(_, count)| *count > 0) {
        // Both ends are rounded from the sums, so that no gap adds up.
        let place = |sum: usize| sum * 10_000 / total;
        let (start, end) = (place(before), place(before + count));
        let _ = write!(
            svg,
            "<rect class=\"v-{verdict}\" x=\"{}\" y=\"{bar_top}\" width=\"{}\" height=\"{BAR_HEIGHT}\"/>",
            percent(start),
            percent(end - start)
        );
        if end - start >= NUMBERED_MIN {
            let middle = percent(start.midpoint(end));
            let _ = write!(
                svg,
                "<text class=\"count\" x=\"{middle}\" y=\"{number_line}\" text-anchor=\"middle\">{count}</text>"
            );
        }
        before += count;
    }
    svg.push_str("</g>");
}

/// Of hundredths.
fn percent(hundredths: usize) -> String {
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fill_the_bar_and_names_are_text() {
        let bar = Bar::of("<L1>", [Verdict::Pass, Verdict::Pass, Verdict::Fail].into_iter());
        let svg = bars("t", &[bar]);
        assert!(svg.contains("&lt;L1&gt;: 1 fail, 2 pass"), "{svg}");
        assert!(svg.contains("aria-label=\"t. &lt;L1&gt;: 1 fail, 2 pass.\""), "{svg}");
        assert!(svg.contains("class=\"v-fail\" x=\"0.00%\" y=\"20\" width=\"33.33%\""), "{svg}");
        assert!(svg.contains("class=\"v-pass\" x=\"33.33%\" y=\"20\" width=\"66.67%\""), "{svg}");
        let few = Bar::of("few", std::iter::repeat_n(Verdict::Pass, 99).chain([Verdict::Fail]));
        let svg = bars("t", &[few]);
        assert!(svg.contains(">99</text>") && !svg.contains(">1</text>"), "{svg}");
        assert!(bars("t", &[Bar::of("none", std::iter::empty())]).contains(">0</text>"));
    }
}
