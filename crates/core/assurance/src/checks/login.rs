//! `auth.bruteforce`, `auth.defaults`.

use super::{Inputs, Rules, tls::Weighed};
use crate::{
    Judgement, Verdict,
    evidence::{
        Seen,
        login::{
            Authorisation, DefaultLogins, FailuresHeard, Found, Guess, GuessPolicy, GuessedService, LoginGuessing,
            Reaction,
        },
    },
};

pub(super) const RULES: Rules = &[
    ("auth.bruteforce", |inputs| {
        let judged = inputs.one::<LoginGuessing>().and_then(|facts| {
            permitted(inputs, &facts.authorisation)?;
            Ok(auth_bruteforce(&facts, &inputs.declared()?.unwrap_or_default(), inputs.declared()?.as_ref()))
        });
        judged.unwrap_or_else(|judgement| judgement)
    }),
    ("auth.defaults", |inputs| {
        let judged = inputs.one::<DefaultLogins>().and_then(|facts| {
            permitted(inputs, &facts.authorisation)?;
            Ok(auth_defaults(&facts))
        });
        judged.unwrap_or_else(|judgement| judgement)
    }),
];

/// What was tried without leave is no evidence.
fn permitted(inputs: &Inputs<'_>, authorisation: &Authorisation) -> Result<(), Judgement> {
    authorisation.check(inputs.at).map_err(|why| inputs.inconclusive(why.to_string()))
}

/// `auth.bruteforce`: guessing is slowed or stopped, tells nothing, and is heard of (IOTSF-2.4.7.5, IIITA-DI7, CSA-TSP-05, CSA-MSU-04,
/// CSA-CLS-11).
#[must_use]
pub fn auth_bruteforce(facts: &LoginGuessing, policy: &GuessPolicy, heard: Option<&FailuresHeard>) -> Judgement {
    let mut weighed = Weighed::default();
    facts.services.iter().for_each(|service| weigh_guessing(&mut weighed, service, policy));
    if facts.services.is_empty() {
        weighed.gaps.push("no login was tried".into());
    }
    let mut open = Vec::new();
    weigh_heard(&mut weighed, &mut open, facts, heard);
    let expected = format!(
        "lockout or back-off by attempt {}, the same answer to wrong users and wrong secrets, an alert, failures logged",
        policy.attempts_max
    );
    let mut judgement = weighed.judge(&expected);
    if judgement.verdict == Verdict::Pass && !open.is_empty() {
        judgement.verdict = Verdict::Partial;
        judgement.observed.push_str(&format!("; not seen: {}", open.join(", ")));
    }
    judgement
}

fn weigh_guessing(weighed: &mut Weighed, service: &GuessedService, policy: &GuessPolicy) {
    let name = format!("{} on port {}", service.login.name(), service.port);
    match &service.right_before {
        Seen::Known(Guess { reaction: Reaction::LetIn, .. }) | Seen::NotTried => {}
        Seen::Known(Guess { how, .. }) => weighed.gaps.push(format!("{name}: the test account cannot log in: {how}")),
        Seen::Unknown(why) => weighed.gaps.push(format!("{name}: the test account: {why}")),
    }
    let wrong = std::iter::once(&service.wrong_user).chain(&service.wrong_secrets);
    if wrong.filter_map(Seen::known).any(|guess| guess.reaction == Reaction::LetIn) {
        weighed.offences.push(format!("{name}: wrong credentials are let in"));
        return;
    }
    weigh_answers(weighed, &name, service);
    weigh_onset(weighed, &name, service, policy);
}

/// Whether the answer tells that a user exists. How long it took is on record, and too unsteady to judge.
fn weigh_answers(weighed: &mut Weighed, name: &str, service: &GuessedService) {
    let first = service.wrong_secrets.first().unwrap_or(&Seen::NotTried);
    match (&service.wrong_user, first) {
        (Seen::Known(user), Seen::Known(secret))
            if [user, secret].iter().all(|guess| guess.reaction == Reaction::Refused) =>
        {
            if user.how != secret.how {
                weighed.offences.push(format!("{name}: a wrong user gets {}, a wrong secret {}", user.how, secret.how));
            } else if user.digest != secret.digest {
                weighed.offences.push(format!("{name}: a wrong user gets other words than a wrong secret"));
            }
        }
        (Seen::Known(_), Seen::Known(_)) => {
            weighed.gaps.push(format!("{name}: it refused too early to compare its answers"));
        }
        (user, secret) => {
            let why = user.gap().or(secret.gap()).unwrap_or_default();
            weighed.gaps.push(format!("{name}: answers cannot be compared: {why}"));
        }
    }
}

fn weigh_onset(weighed: &mut Weighed, name: &str, service: &GuessedService, policy: &GuessPolicy) {
    let tried = service.wrong_secrets.len();
    match onset(&service.wrong_secrets, policy.delay_ms_min) {
        Some((attempt, sign)) if attempt <= u64::from(policy.attempts_max) => {
            weighed.fine.push(format!("{name}: {sign} at attempt {attempt}"));
            return;
        }
        Some((attempt, sign)) => {
            weighed.offences.push(format!("{name}: {sign} at attempt {attempt} only"));
            return;
        }
        None => {}
    }
    let is_enough = u64::try_from(tried).is_ok_and(|tried| tried >= u64::from(policy.attempts_max));
    let is_whole = service.wrong_secrets.iter().all(|guess| guess.known().is_some());
    match (&service.right_before, &service.right_after) {
        _ if !is_whole => {
            let why = service.wrong_secrets.iter().find_map(Seen::gap).unwrap_or_default();
            weighed.gaps.push(format!("{name}: wrong secrets: {why}"));
        }
        _ if !is_enough => weighed.gaps.push(format!("{name}: only {tried} wrong secrets were tried")),
        // The account was good before, and is not now: locked, in silence.
        (Seen::Known(before), Seen::Known(after))
            if before.reaction == Reaction::LetIn && after.reaction != Reaction::LetIn =>
        {
            weighed.fine.push(format!("{name}: the account is locked after {tried} wrong secrets"));
        }
        (_, Seen::Known(Guess { reaction: Reaction::LetIn, .. })) => {
            weighed.offences.push(format!("{name}: {tried} wrong secrets are neither slowed nor stopped"));
        }
        // Whether an account is locked shows only to whoever has its secret.
        _ => weighed
            .gaps
            .push(format!("{name}: nothing slows {tried} wrong secrets; whether they lock the account is not known")),
    }
}

/// The first attempt, from 1, that shows lockout or back-off, and how. One slow answer may be chance; if all the rest are slow, it is not.
fn onset(guesses: &[Seen<Guess>], delay_ms_min: u64) -> Option<(u64, String)> {
    let first = guesses.first()?.known()?;
    let is_slow = |guess: &Seen<Guess>| {
        guess.known().is_some_and(|guess| guess.elapsed_ms >= first.elapsed_ms.saturating_add(delay_ms_min))
    };
    guesses.iter().zip(1..).enumerate().find_map(|(index, (guess, attempt))| {
        let known = guess.known()?;
        let sign = match known.reaction {
            Reaction::Throttled => format!("it says to wait ({})", known.how),
            Reaction::Dropped => format!("it stops answering ({})", known.how),
            Reaction::Refused if known.how != first.how => format!("the answer turns into {}", known.how),
            _ if guesses[index..].len() > 1 && guesses[index..].iter().all(is_slow) => {
                "answers are held back".to_owned()
            }
            _ => return None,
        };
        Some((attempt, sign))
    })
}

fn weigh_heard(weighed: &mut Weighed, open: &mut Vec<&str>, facts: &LoginGuessing, heard: Option<&FailuresHeard>) {
    let answered = |guess: &&Seen<Guess>| guess.known().is_some_and(|guess| guess.reaction == Reaction::Refused);
    let refused: usize =
        facts.services.iter().map(|service| service.wrong_secrets.iter().filter(answered).count()).sum();
    match heard.map(|heard| &heard.logged) {
        Some(Seen::Known(logged)) if usize::try_from(*logged).is_ok_and(|logged| logged < refused) => {
            weighed.offences.push(format!("of {refused} failures, {logged} are logged"));
        }
        Some(Seen::Known(_)) => weighed.fine.push("all failures are logged".into()),
        Some(Seen::Unknown(why)) => weighed.gaps.push(format!("the log: {why}")),
        Some(Seen::NotTried) | None => open.push("its log"),
    }
    match heard.map(|heard| &heard.is_alerted) {
        Some(Seen::Known(true)) => weighed.fine.push("an alert arrived".into()),
        Some(Seen::Known(false)) => weighed.offences.push("no alert arrived".into()),
        Some(Seen::Unknown(why)) => weighed.gaps.push(format!("alerts: {why}")),
        Some(Seen::NotTried) | None => open.push("alerts"),
    }
}

/// `auth.defaults`: nothing that is published opens a login (IOTSF-2.4.7.7, IIITA-DI2, CSA-SDV-04, CSA-CRD-05).
#[must_use]
pub fn auth_defaults(facts: &DefaultLogins) -> Judgement {
    let mut weighed = Weighed::default();
    for service in &facts.services {
        let name = format!("{} on port {}", service.login.name(), service.port);
        match &service.found {
            Seen::Known(Found::Entry { index, user }) => {
                weighed.offences.push(format!("{name}: factory credential {index} (user {user:?}) is accepted"));
            }
            // Other checks know which paths are for everybody.
            Seen::Known(Found::Anything) if service.login.is_http() => {
                weighed.gaps.push(format!("{name}: strangers are let in too, so nothing was tried"));
            }
            Seen::Known(Found::Anything) => weighed.offences.push(format!("{name}: anything is accepted")),
            Seen::Known(Found::NoPasswords) => weighed.fine.push(format!("{name}: no password is taken")),
            Seen::Known(Found::Nothing) if service.tried > 0 => {
                weighed.fine.push(format!("{name}: none of {} is accepted", service.tried));
            }
            Seen::Known(Found::Nothing) => weighed.gaps.push(format!("{name}: nothing was tried")),
            unknown => {
                let why = unknown.gap().unwrap_or_default();
                weighed.gaps.push(format!("{name}: after {}: {why}", service.tried));
            }
        }
    }
    weighed.judge("no factory credential is accepted")
}
