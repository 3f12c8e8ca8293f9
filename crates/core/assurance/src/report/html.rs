//! `report.html`: one file that loads nothing, runs one script of its own, and reads as well without it.

use std::{collections::BTreeSet, fmt::Write as _};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{
    Report,
    svg::{Bar, bars},
};
use crate::{
    CLASS_MAX, Catalogue, CheckResult, Framework, LEVEL_MAX, RowVerdict, Selection, Verdict, moment, text::escape,
};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");
/// Digits of a hash that are shown on a screen.
const SHOWN_DIGITS: usize = 12;

/// The report for people.
#[must_use]
pub fn html(report: &Report, catalogue: &Catalogue) -> Vec<u8> {
    let mut page = String::new();
    head(&mut page, report);
    summary(&mut page, report);
    page.push_str("<div class=\"charts\">\n");
    charts(&mut page, report, catalogue);
    page.push_str("</div>\n");
    rows(&mut page, report, catalogue);
    checks(&mut page, report, catalogue);
    let _ = writeln!(page, "</main><script>{SCRIPT}</script></body></html>");
    page.into_bytes()
}

/// Nothing may be loaded, and nothing run but what has these hashes (Content Security Policy level 3).
fn head(page: &mut String, report: &Report) {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    let _ = writeln!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\
         <meta name=\"referrer\" content=\"no-referrer\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Assessment of {}</title><style>{STYLE}</style></head><body><main>",
        moment::day(report.started)
    );
}

fn summary(page: &mut String, report: &Report) {
    let tool = format!("{} {}", report.tool.name, report.tool.version);
    let targets: String = report.targets.iter().map(|target| format!("<li>{}</li>", escape(target))).collect();
    let _ = writeln!(
        page,
        "<h1>Assessment</h1><dl><dt>Targets</dt><dd><ul>{targets}</ul></dd><dt>Began</dt><dd>{}</dd><dt>Ended</dt><dd>{}</dd>\
         <dt>Requirements</dt><dd>{}</dd><dt>Made by</dt><dd>{}</dd><dt>Catalogue</dt><dd><code>{}</code></dd></dl>",
        moment::text(report.started),
        moment::text(report.ended),
        escape(&selected(&report.selection, report.requirements.len())),
        escape(&tool),
        report.tool.catalogue,
    );
    page.push_str("<ul class=\"totals\">");
    for verdict in Verdict::ALL {
        let count = report.rows_with(verdict);
        let _ = write!(page, "<li><b class=\"v-{verdict}\">{verdict}</b> {count}</li>");
    }
    page.push_str(
        "</ul>\n<p>What was not tried is <i>not-tested</i>, what was tried without a clear answer is <i>inconclusive</i>; neither is \
         ever counted as passed. Each verdict follows from the evidence named beside it, and <code>portreeve report verify</code> \
         computes it again.</p>\n<nav><a href=\"#requirements\">Requirements</a> · <a href=\"#checks\">Checks and their evidence</a></nav>\n",
    );
}

fn selected(selection: &Selection, rows: usize) -> String {
    let mut text = format!("{rows} rows");
    if !selection.frameworks.is_empty() {
        let names: Vec<&str> = selection.frameworks.iter().map(|framework| framework.as_str()).collect();
        let _ = write!(text, " of {}", names.join(", "));
    }
    let level = selection.level.map(|level| format!(", ISVS level {level}")).unwrap_or_default();
    let class = selection.class.map(|class| format!(", IoTSF class {class}")).unwrap_or_default();
    text + &level + &class
}

fn charts(page: &mut String, report: &Report, catalogue: &Catalogue) {
    let of = |selection: &Selection| {
        let is_in = |row: &&RowVerdict| {
            row.requirement().and_then(|id| catalogue.requirement(&id)).is_some_and(|row| selection.holds(row))
        };
        report.requirements.iter().filter(is_in).map(|row| row.verdict).collect::<Vec<_>>()
    };
    let one = |framework| Selection { frameworks: [framework].into(), ..Selection::default() };
    let bar = |label: String, selection: &Selection| Bar::of(label, of(selection).into_iter());
    let frameworks = Framework::ALL.map(|framework| bar(framework.to_string(), &one(framework)));
    let levels = (1..=LEVEL_MAX)
        .map(|level| bar(format!("ISVS L{level}"), &Selection { level: Some(level), ..one(Framework::Isvs) }));
    let classes = (0..=CLASS_MAX)
        .map(|class| bar(format!("IoTSF class {class}"), &Selection { class: Some(class), ..one(Framework::Iotsf) }));
    chart(page, "By framework", frameworks.into_iter());
    chart(page, "By level and class", levels.chain(classes));
}

fn chart(page: &mut String, title: &str, all: impl Iterator<Item = Bar>) {
    let all: Vec<Bar> = all.filter(|bar| bar.total() > 0).collect();
    if !all.is_empty() {
        let _ = writeln!(page, "<section><h2>{title}</h2>{}</section>", bars(title, &all));
    }
}

fn rows(page: &mut String, report: &Report, catalogue: &Catalogue) {
    let option = |name: &str| format!("<option>{name}</option>");
    let frameworks: BTreeSet<Framework> = report.requirements.iter().map(|row| row.framework).collect();
    let frameworks: String = frameworks.iter().map(|framework| option(framework.as_str())).collect();
    let verdicts: String = Verdict::ALL.iter().map(|verdict| option(verdict.as_str())).collect();
    let _ = writeln!(
        page,
        "<h2 id=\"requirements\">Requirements</h2>\n<form id=\"filter\" hidden><label>Framework <select name=\"framework\"><option value=\"\">all</option>\
         {frameworks}</select></label> <label>Verdict <select name=\"verdict\"><option value=\"\">all</option>{verdicts}</select></label> \
         <label>Text <input name=\"text\" type=\"search\"></label> <output></output></form>\n\
         {}",
        table("id=\"rows\" aria-labelledby=\"requirements\"", &["Id", "Asks", "Verdict", "Why"])
    );
    for row in &report.requirements {
        row_of(page, row, report, catalogue);
    }
    page.push_str("</tbody></table>\n");
}

fn row_of(page: &mut String, row: &RowVerdict, report: &Report, catalogue: &Catalogue) {
    let known = row.requirement().and_then(|id| catalogue.requirement(&id));
    let (asks, scope) =
        known.map_or((String::new(), String::new()), |row| (row.paraphrase.clone(), row.scope.to_string()));
    let id = format!("{}-{}", row.framework, row.id);
    let (id, verdict) = (escape(&id), row.verdict);
    let _ = write!(
        page,
        "<tr data-framework=\"{}\" data-verdict=\"{verdict}\"><th scope=\"row\" id=\"{id}\">{id}<br><small>{}</small></th><td>{}</td>\
         <td><b class=\"v-{verdict}\">{verdict}</b></td><td>{}",
        row.framework,
        escape(&scope),
        escape(&asks),
        escape(&row.reason)
    );
    let places: Vec<String> = report.numbered_results_of(row).map(reference).collect();
    if !places.is_empty() {
        let _ = write!(page, "<ul class=\"basis\">{}</ul>", places.concat());
    }
    page.push_str("</td></tr>\n");
}

/// A line that leads to a check result.
fn reference((at, result): (usize, &CheckResult)) -> String {
    let verdict = result.verdict;
    format!(
        "<li><a href=\"#check-{at}\">{}</a> at {}: <b class=\"v-{verdict}\">{verdict}</b></li>",
        escape(result.id.as_str()),
        escape(&result.target)
    )
}

fn checks(page: &mut String, report: &Report, catalogue: &Catalogue) {
    let heads = ["Check", "Target", "Verdict", "Observed and expected", "Evidence"];
    let table = table("aria-labelledby=\"checks\"", &heads);
    let _ = writeln!(page, "<h2 id=\"checks\">Checks and their evidence</h2>\n{table}");
    for (at, result) in report.checks.iter().enumerate() {
        let does = catalogue.check(&result.id).map_or("", |check| &check.does);
        let evidence: String = result.evidence.iter().map(evidence_link).collect();
        let verdict = result.verdict;
        let _ = writeln!(
            page,
            "<tr id=\"check-{at}\"><th scope=\"row\">{} <small>version {}</small><br><small>{}</small></th><td>{}</td>\
             <td><b class=\"v-{verdict}\">{verdict}</b></td><td><p>{}</p><p><small>Expected: {}</small></p></td><td>{evidence}</td></tr>",
            escape(result.id.as_str()),
            result.version,
            escape(does),
            escape(&result.target),
            escape(&result.observed),
            escape(&result.expected)
        );
    }
    page.push_str("</tbody></table>\n");
    if !report.statements.is_empty() {
        let links: String = report.statements.iter().map(evidence_link).collect();
        let _ = writeln!(page, "<p>Exceptions, and what is said not to apply: {links}</p>");
    }
}

/// Its first digits; on paper, where nothing can be followed, all of them.
fn evidence_link(hash: &crate::Sha256) -> String {
    let digits = hash.to_string();
    let short = digits.get(..SHOWN_DIGITS).unwrap_or_default();
    format!("<a class=\"hash\" href=\"{}\" title=\"{digits}\"><code>{short}…</code></a> ", super::evidence_file(hash))
}

/// Up to its first row.
fn table(attributes: &str, heads: &[&str]) -> String {
    // The style sheet knows how wide columns are by the first word over them.
    let class = |head: &str| head.split(' ').next().unwrap_or_default().to_lowercase();
    let columns: String = heads.iter().map(|head| format!("<col class=\"c-{}\">", class(head))).collect();
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{head}</th>")).collect();
    format!("<table {attributes}><colgroup>{columns}</colgroup><thead><tr>{heads}</tr></thead><tbody>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn page() -> String {
        String::from_utf8(html(&sample::report(), Catalogue::embedded())).unwrap()
    }

    #[test]
    fn hostile_text_is_text() {
        let page = page();
        assert!(sample::report().checks.iter().any(|result| result.target.contains("<script>")));
        assert_eq!(page.matches("<script").count(), 1, "one script, ours");
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(!page.contains("onerror=\"") && !page.contains("<img") && !page.contains('\u{202e}'));
    }

    /// Nothing is fetched: no element that loads has an address, and the policy would stop it.
    #[test]
    fn it_stands_alone() {
        let page = page();
        for part in [" src=\"", "http://", "https://", "url(", "@import", "<link", "<iframe", "style=\"", "javascript:"]
        {
            assert!(!page.contains(part), "{part}");
        }
        assert!(page.contains("default-src 'none'"));
        for text in [STYLE, SCRIPT] {
            let hash = STANDARD.encode(digest(&SHA256, text.as_bytes()));
            assert!(page.contains(&format!("'sha256-{hash}'")));
        }
        assert!(!STYLE.contains("</") && !SCRIPT.contains("</"), "it would end its element");
    }

    #[test]
    fn every_row_every_check_and_every_link_is_there() {
        let (page, report) = (page(), sample::report());
        for row in &report.requirements {
            assert!(page.contains(&format!("<th scope=\"row\" id=\"{}-{}\">", row.framework, row.id)));
        }
        for at in 0..report.checks.len() {
            assert!(
                page.contains(&format!("<tr id=\"check-{at}\">")) && page.contains(&format!("href=\"#check-{at}\""))
            );
        }
        for title in ["By framework", "By level and class", "ISVS L1", "IoTSF class 4"] {
            assert!(page.contains(title), "{title}");
        }
        assert_eq!(
            page.matches("<form id=\"filter\" hidden>").count(),
            1,
            "without its script there is nothing to filter with"
        );
    }
}
