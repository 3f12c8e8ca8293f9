//! `console.auth`.

use super::{Rules, of_declared, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Seen,
        console::{Clear, ConsolePolicy, ConsoleScan, Cookie, Knock, Page, PageHeaders, RoleVisit, Standing, Stranger},
    },
};

pub(super) const RULES: Rules = &[("console.auth", |inputs| of_declared(inputs, console_auth))];

/// What a page is to whoever may not see it.
enum Shown {
    /// It is refused, or one has to log in.
    Refused,
    /// Nothing is there.
    Absent,
    /// It is shown.
    Page,
    /// It is not clear which of these; one line why.
    Unclear(String),
}

/// `console.auth`: nobody sees anything without a session, roles see their own, a first factor is not enough, and browsers are told
/// what they need (CSA-CLS-09, CSA-CLS-11, CSA-SCN-07, CSA-SCN-08, CSA-SDV-18, IIITA-I1, IIITA-I2, IIITA-I7, IIITA-J3).
#[must_use]
pub fn console_auth(facts: &ConsoleScan, policy: &ConsolePolicy) -> Judgement {
    let mut weighed = Weighed::default();
    if !facts.is_tls {
        weighed.offences.push("the console speaks HTTP in clear".into());
    }
    weigh_strangers(&mut weighed, facts, policy);
    facts.visits.iter().for_each(|visit| weigh_visit(&mut weighed, visit, facts, policy));
    weigh_pages(&mut weighed, facts, policy);
    weigh_rest(&mut weighed, facts);
    let mut judgement =
        weighed.judge("401 or 403 to strangers and other roles, a second factor, headers and cookie flags set");
    let open = not_tried(facts);
    if judgement.verdict == Verdict::Pass && !open.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str(&format!("; not tried: {}", open.join(", ")));
    }
    judgement
}

fn weigh_strangers(weighed: &mut Weighed, facts: &ConsoleScan, policy: &ConsolePolicy) {
    let mut refused = 0;
    for Knock { path, stranger, page } in &facts.knocks {
        let name = format!("{path} {}", stranger.name());
        match page {
            Seen::Known(page) if !policy.is_basic_allowed && page.challenges.iter().any(|scheme| scheme == "basic") => {
                weighed.offences.push(format!("{name}: asks for HTTP Basic"));
            }
            _ => {}
        }
        if is_public(policy, path) {
            match page {
                Seen::Known(page) if (200..300).contains(&page.status) && *stranger == Stranger::Nobody => {
                    weighed.fine.push(format!("{path} is for everybody, as declared"));
                }
                Seen::Known(_) => {}
                unknown => weighed.gaps.push(format!("{name}: {}", unknown.gap().unwrap_or_default())),
            }
            continue;
        }
        match shown(page, path, facts, policy) {
            Shown::Refused => refused += 1,
            Shown::Absent => {}
            Shown::Page => weighed.offences.push(format!("{name}: shown")),
            Shown::Unclear(why) => weighed.gaps.push(format!("{name}: {why}")),
        }
    }
    if refused > 0 {
        weighed.fine.push(format!("{refused} requests of strangers are refused"));
    } else {
        // Where nothing is refused, nothing that needs a session has been asked for.
        weighed.gaps.push("no path was found that asks for a session".into());
    }
}

fn is_public(policy: &ConsolePolicy, path: &str) -> bool {
    policy.public_paths.iter().any(|public| public == path)
}

fn shown(page: &Seen<Page>, asked: &str, facts: &ConsoleScan, policy: &ConsolePolicy) -> Shown {
    let page = match page {
        Seen::Known(page) => page,
        unknown => return Shown::Unclear(unknown.gap().unwrap_or_default().to_owned()),
    };
    match page.status {
        400 | 401 | 403 | 407 => Shown::Refused,
        404 | 405 | 410 => Shown::Absent,
        300..400 if page.elsewhere.is_some() => Shown::Refused,
        // The shell of an application, or a friendly "not found": it shows nothing that is at this path.
        200..300 if facts.nowhere.known().is_some_and(|nowhere| is_alike(nowhere, page)) => Shown::Absent,
        200..300 if is_public_page(page, facts, policy) => Shown::Refused,
        200..300 if page.hops > 0 && page.path.trim_end_matches('/') != asked.trim_end_matches('/') => {
            let is_login = page.is_login && !page.path.starts_with(asked);
            if is_login || is_public(policy, &page.path) {
                Shown::Refused
            } else {
                Shown::Unclear(format!("leads to {}, which is not declared as public", page.path))
            }
        }
        // Settings have fields for passwords too.
        200..300 if page.is_login => Shown::Unclear("asks for a password, and may show more than that".into()),
        200..300 => Shown::Page,
        status => Shown::Unclear(format!("HTTP {status}")),
    }
}

/// Whether strangers see the same at a path that is public: the page to log in, wherever they go.
fn is_public_page(page: &Page, facts: &ConsoleScan, policy: &ConsolePolicy) -> bool {
    let public = facts.knocks.iter().filter(|knock| is_public(policy, &knock.path));
    public.filter_map(|knock| knock.page.known()).any(|public| is_alike(public, page))
}

fn is_alike(one: &Page, other: &Page) -> bool {
    one.status == other.status && one.digest.is_some() && one.digest == other.digest
}

fn weigh_visit(weighed: &mut Weighed, visit: &RoleVisit, facts: &ConsoleScan, policy: &ConsolePolicy) {
    let RoleVisit { role, standing, path, is_declared, page } = visit;
    let who = match standing {
        Standing::Full => role.clone(),
        Standing::FirstFactor => format!("{role} after the first factor"),
        Standing::Ended => format!("{role} after the session's end"),
    };
    let may = *is_declared && *standing == Standing::Full;
    match (shown(page, path, facts, policy), may) {
        (Shown::Page, true) => weighed.fine.push(format!("{who} sees {path}")),
        (Shown::Page, false) => weighed.offences.push(format!("{who} sees {path}")),
        (Shown::Refused, false) => weighed.fine.push(format!("{who} does not see {path}")),
        (Shown::Absent, false) if *standing == Standing::Full => {
            weighed.fine.push(format!("{who} finds nothing at {path}"));
        }
        // Without its control, a refusal may be that of a session that was never good, or of a path that is nowhere.
        (Shown::Refused | Shown::Absent, true) => {
            weighed.gaps.push(format!("{who} does not see {path}, though declared"))
        }
        (Shown::Absent, false) => weighed.gaps.push(format!("{who} finds nothing at {path}")),
        (Shown::Unclear(why), _) => weighed.gaps.push(format!("{who} at {path}: {why}")),
    }
}

/// Headers of pages that are shown, and cookies of all.
fn weigh_pages(weighed: &mut Weighed, facts: &ConsoleScan, policy: &ConsolePolicy) {
    let pages: Vec<&Page> = facts
        .knocks
        .iter()
        .map(|knock| &knock.page)
        .chain(facts.visits.iter().map(|visit| &visit.page))
        .filter_map(Seen::known)
        .collect();
    let html: Vec<&&Page> = pages.iter().filter(|page| page.is_html && (200..300).contains(&page.status)).collect();
    if html.is_empty() {
        weighed.gaps.push("no page was shown whose headers could be seen".into());
    }
    let mut offences = Vec::new();
    html.iter().for_each(|page| weigh_headers(&mut offences, &page.headers, facts.is_tls, policy));
    pages.iter().flat_map(|page| &page.cookies).for_each(|cookie| weigh_cookie(&mut offences, cookie, facts.is_tls));
    for offence in offences {
        if !weighed.offences.contains(&offence) {
            weighed.offences.push(offence);
        }
    }
}

fn weigh_headers(offences: &mut Vec<String>, headers: &PageHeaders, is_tls: bool, policy: &ConsolePolicy) {
    let mut offends = |is_so: bool, what: &str| {
        if is_so {
            offences.push(what.to_owned());
        }
    };
    match headers.hsts_max_age_s {
        _ if !is_tls => {}
        None => offends(true, "no Strict-Transport-Security"),
        Some(seconds) => offends(seconds < policy.hsts_max_age_s_min, "a short Strict-Transport-Security"),
    }
    match headers.script_policy.as_deref() {
        None => offends(true, "no Content-Security-Policy for scripts"),
        Some(sources) => offends(is_lax(sources), "a Content-Security-Policy that allows any script"),
    }
    offends(!headers.is_framing_limited, "other sites may frame it");
    offends(!headers.is_sniffing_off, "no X-Content-Type-Options");
}

/// Whether a list of sources lets any script in. Browsers that know nonces and hashes ignore `'unsafe-inline'` beside them.
fn is_lax(sources: &str) -> bool {
    let is_named = sources.split(' ').any(|source| source.starts_with("'nonce-") || source.starts_with("'sha"));
    sources.split(' ').any(|source| match source {
        "*" | "http:" | "https:" | "data:" => true,
        "'unsafe-inline'" => !is_named,
        _ => false,
    })
}

/// Tokens against forged requests are made for scripts to read; every other cookie may be a session.
fn weigh_cookie(offences: &mut Vec<String>, cookie: &Cookie, is_tls: bool) {
    let name = cookie.name.to_ascii_lowercase();
    let is_for_scripts = name.contains("csrf") || name.contains("xsrf");
    let mut missing = Vec::new();
    if is_tls && !cookie.is_secure {
        missing.push("Secure");
    }
    if !cookie.is_http_only && !is_for_scripts {
        missing.push("HttpOnly");
    }
    if !matches!(cookie.same_site.as_deref(), Some("lax" | "strict")) {
        missing.push("SameSite");
    }
    if !missing.is_empty() {
        offences.push(format!("cookie {} without {}", cookie.name, missing.join(", ")));
    }
}

fn weigh_rest(weighed: &mut Weighed, facts: &ConsoleScan) {
    match &facts.trace {
        Seen::Known(trace) if trace.is_echoed => weighed.offences.push("TRACE returns what was sent".into()),
        Seen::Known(_) => {}
        unknown => weighed.gaps.push(format!("TRACE: {}", unknown.gap().unwrap_or_default())),
    }
    match &facts.clear {
        Seen::Known(Clear::Answers(status)) => weighed.offences.push(format!("HTTP in clear answers {status}")),
        Seen::Unknown(why) => weighed.gaps.push(format!("HTTP in clear: {why}")),
        Seen::Known(_) | Seen::NotTried => {}
    }
}

/// What only test accounts and a declared port can show.
fn not_tried(facts: &ConsoleScan) -> Vec<&'static str> {
    let visited = |wanted: &dyn Fn(&RoleVisit) -> bool| facts.visits.iter().any(wanted);
    let control = visited(&|visit| visit.standing == Standing::Full && visit.is_declared);
    let strangers = Stranger::ALL.iter().all(|one| facts.knocks.iter().any(|knock| knock.stranger == *one));
    [
        ("roles", control && visited(&|visit| visit.standing == Standing::Full && !visit.is_declared)),
        ("a session without the second factor", visited(&|visit| visit.standing == Standing::FirstFactor)),
        ("a session that has ended", visited(&|visit| visit.standing == Standing::Ended)),
        ("invented sessions", strangers),
        ("HTTP in clear", facts.clear != Seen::NotTried),
    ]
    .into_iter()
    .filter(|(_, is_tried)| !is_tried)
    .map(|(what, _)| what)
    .collect()
}
