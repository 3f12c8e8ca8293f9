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

/// Units of the drawing, which scales to the page.
const WIDTH: usize = 700;
const LABEL_WIDTH: usize = 120;
const TOTAL_WIDTH: usize = 40;
const BAR_HEIGHT: usize = 22;
const STEP: usize = 30;

/// Bars below each other, all of one length: each shows shares of its own total.
pub(super) fn bars(title: &str, bars: &[Bar]) -> String {
    let height = bars.len() * STEP;
    let mut svg = String::new();
    // Text cannot fail to take text.
    let _ = write!(svg, "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {height}\"><title>{}</title>", escape(title));
    for (at, bar) in bars.iter().enumerate() {
        one(&mut svg, bar, at * STEP);
    }
    svg.push_str("</svg>");
    svg
}

fn one(svg: &mut String, bar: &Bar, top: usize) {
    let baseline = top + BAR_HEIGHT * 3 / 4;
    let full = WIDTH - LABEL_WIDTH - TOTAL_WIDTH;
    let total = bar.total();
    let _ = write!(
        svg,
        "<g><title>{}: {}</title><text x=\"0\" y=\"{baseline}\">{}</text>",
        escape(&bar.label),
        bar.words(),
        escape(&bar.label)
    );
    let mut before = 0;
    for (verdict, count) in Verdict::ALL.iter().zip(bar.counts).filter(|(_, count)| *count > 0) {
        // Both ends are rounded from the sums, so that no gap adds up.
        let place = |sum: usize| LABEL_WIDTH + sum * full / total;
        let (start, end) = (place(before), place(before + count));
        let width = (end - start).max(1);
        let _ = write!(
            svg,
            "<rect class=\"v-{verdict}\" x=\"{start}\" y=\"{top}\" width=\"{width}\" height=\"{BAR_HEIGHT}\"/>"
        );
        before += count;
    }
    let _ = write!(svg, "<text x=\"{WIDTH}\" y=\"{baseline}\" text-anchor=\"end\">{total}</text></g>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_fill_the_bar_and_names_are_text() {
        let bar = Bar::of("<L1>", [Verdict::Pass, Verdict::Pass, Verdict::Fail].into_iter());
        let svg = bars("t", &[bar]);
        assert!(svg.contains("&lt;L1&gt;: 1 fail, 2 pass"), "{svg}");
        assert!(svg.contains("class=\"v-fail\" x=\"120\" y=\"0\" width=\"180\""), "{svg}");
        assert!(svg.contains("class=\"v-pass\" x=\"300\" y=\"0\" width=\"360\""), "{svg}");
        assert!(bars("t", &[Bar::of("none", std::iter::empty())]).contains(">0</text>"));
    }
}
