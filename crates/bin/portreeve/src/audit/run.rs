//! A run: every visit of the plan, within its bounds, and the report of what they brought.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use portreeve_assurance::{
    Attempt, Catalogue, Envelope, Outcome, Report, Run, Scope, Sha256, Store, Verdict, Visit, bundle, judge, plan,
};
use portreeve_types::UnixMillis;

use super::{
    Options, TOOL, files::files, folder::Folder, hub::HubLink, key::AuditorKey, material::Material, now, summary,
    visit::Visitor,
};
use crate::{cli::Global, failure::Failure, output::remark};

/// Everything that a run has brought so far.
struct Brought {
    attempts: Vec<Attempt>,
    evidence: Vec<Envelope>,
}

/// Makes every visit that a scope asks for, and reports.
pub(super) fn run(global: &Global, scope: &Scope, base: &Path, options: &Options) -> Result<(), Failure> {
    let catalogue = Catalogue::embedded();
    let authorisation = scope.authorisation.as_ref();
    if let Some(over) = authorisation.filter(|authorisation| authorisation.until <= now()) {
        return Err(Failure::Refused(format!("the authorisation {} is no longer in force", over.reference)));
    }
    let material = Material::read(scope, base)?;
    let begun = options.out.as_deref().and_then(Folder::begun).unwrap_or_else(now);
    let mut files = files(scope, base, begun)?;
    let hub = HubLink::open(global, scope, base)?;
    if let Some(hub) = &hub {
        files.vouched(&hub.records()?)?;
    }
    let key = options.out.as_ref().map(|_| AuditorKey::open(options.key.as_deref())).transpose()?;
    let digest = digest(scope)?;
    let folder = options.out.as_deref().map(|path| Folder::open(path, digest, begun)).transpose()?;
    let started = folder.as_ref().map_or(begun, |folder| folder.started);
    let visits = plan(scope, catalogue);
    if visits.is_empty() && files.attempts.is_empty() {
        return Err(Failure::Usage("the scope declares nothing to look at that its checks and rows are about".into()));
    }
    let audit = Audit {
        scope,
        visits: &visits,
        visitor: Visitor { scope, material: &material, hub: hub.as_ref(), started },
        folder: folder.as_ref(),
        quiet: options.quiet,
        until: Instant::now() + Duration::from_secs(scope.bounds.run_s.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Refused(format!("cannot start: {error}")))?;
    let mut brought = runtime.block_on(audit.all())?;
    brought.attempts.extend(files.attempts);
    brought.evidence.extend(files.evidence);
    let attempts = joined(std::mem::take(&mut brought.attempts));

    let store = store(scope, started, &brought)?;
    let report = Report::new(catalogue, &described(scope, started, attempts), &store);
    if let (Some(folder), Some(key)) = (folder, &key) {
        let files = bundle(&report, catalogue, &store, key.public(), |bytes| key.sign(bytes))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        folder.finish(&files, &store)?;
    }
    summary::say_summary(global, &report, options, key.as_ref())?;
    match report.checks.iter().filter(|check| check.verdict == Verdict::Fail).count() {
        0 => Ok(()),
        1 => Err(Failure::CheckFailed("1 check failed".into())),
        failed => Err(Failure::CheckFailed(format!("{failed} checks failed"))),
    }
}

/// What we saw and what another scanner saw of the same is judged together, so that a difference shows.
fn joined(attempts: Vec<Attempt>) -> Vec<Attempt> {
    let mut joined: Vec<Attempt> = Vec::new();
    for attempt in attempts {
        let same = joined.iter_mut().find(|known| (&known.check, &known.target) == (&attempt.check, &attempt.target));
        match (same.map(|known| &mut known.outcome), &attempt.outcome) {
            (Some(Outcome::Evidence(known)), Outcome::Evidence(more)) => {
                let new: Vec<Sha256> = more.iter().filter(|hash| !known.contains(hash)).copied().collect();
                known.extend(new);
            }
            (Some(known), Outcome::Evidence(_)) => *known = attempt.outcome,
            (Some(_), _) => {}
            (None, _) => joined.push(attempt),
        }
    }
    joined
}

fn digest(scope: &Scope) -> Result<Sha256, Failure> {
    let bytes = serde_json::to_vec(scope).map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Sha256::of(&bytes))
}

/// The evidence of a run: what was declared, what was stated, what was seen.
fn store(scope: &Scope, started: UnixMillis, brought: &Brought) -> Result<Store, Failure> {
    let full = |error: &dyn std::fmt::Display| Failure::Refused(error.to_string());
    let mut store = Store::default();
    let mut add = |envelope: Result<Envelope, _>| match envelope {
        Ok(envelope) => store.add(envelope).map(drop),
        Err(error) => Err(error),
    };
    add(Envelope::of(scope, None, started, TOOL)).map_err(|error| full(&error))?;
    for exception in &scope.exceptions {
        add(Envelope::of(exception, Some(&exception.target), started, TOOL)).map_err(|error| full(&error))?;
    }
    for word in &scope.not_applicable {
        add(Envelope::of(word, None, started, TOOL)).map_err(|error| full(&error))?;
    }
    for envelope in &brought.evidence {
        add(Ok(envelope.clone())).map_err(|error| full(&error))?;
    }
    Ok(store)
}

fn described(scope: &Scope, started: UnixMillis, attempts: Vec<Attempt>) -> Run<'static> {
    let targets: BTreeSet<String> = attempts.iter().map(|attempt| attempt.target.clone()).collect();
    Run {
        tool: ("portreeve", env!("CARGO_PKG_VERSION")),
        started,
        ended: now(),
        selection: scope.assess.clone(),
        targets: targets.into_iter().collect(),
        attempts,
    }
}

struct Audit<'a> {
    scope: &'a Scope,
    visits: &'a [Visit<'a>],
    visitor: Visitor<'a>,
    folder: Option<&'a Folder>,
    quiet: bool,
    until: Instant,
}

impl Audit<'_> {
    /// Visits of one target one after another, several targets at one time.
    async fn all(&self) -> Result<Brought, Failure> {
        let mut by_target: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, visit) in self.visits.iter().enumerate() {
            by_target.entry(visit.target.as_str()).or_default().push(number);
        }
        let targets = by_target.into_values().map(|numbers| async move {
            let mut brought = Vec::new();
            for number in numbers {
                brought.push(self.one(number).await?);
            }
            Ok::<_, Failure>(brought)
        });
        let at_once = self.scope.bounds.targets_at_once as usize;
        let work = stream::iter(targets).buffer_unordered(at_once).collect::<Vec<_>>();
        let all = tokio::select! {
            all = work => all,
            _ = tokio::signal::ctrl_c() => return Err(self.interrupted()),
        };
        let mut whole = Brought { attempts: Vec::new(), evidence: Vec::new() };
        for brought in all {
            for Brought { attempts, evidence } in brought? {
                whole.attempts.extend(attempts);
                whole.evidence.extend(evidence);
            }
        }
        Ok(whole)
    }

    fn interrupted(&self) -> Failure {
        let text = match self.folder {
            Some(_) => "interrupted; the same command goes on where this one was",
            None => "interrupted",
        };
        Failure::Refused(text.into())
    }

    async fn one(&self, number: usize) -> Result<Brought, Failure> {
        let visit = &self.visits[number];
        if let Some((attempts, evidence)) = self.folder.and_then(|folder| folder.recall(number)) {
            self.progress(number, "done before", &attempts, &evidence);
            return Ok(Brought { attempts, evidence });
        }
        let begun = Instant::now();
        let gathered = match () {
            () if !visit.is_allowed() => Ok(Vec::new()),
            () if begun >= self.until => Err("the time of the run was over".to_owned()),
            () => self.visitor.visit(visit).await,
        };
        let (attempts, evidence) = outcome(visit, gathered);
        if visit.is_allowed() {
            if let Some(folder) = self.folder {
                folder.keep(number, &attempts, &evidence)?;
            }
            self.progress(number, &format!("{:.1} s", begun.elapsed().as_secs_f32()), &attempts, &evidence);
        }
        Ok(Brought { attempts, evidence })
    }

    /// One line for each visit that was made.
    fn progress(&self, number: usize, took: &str, attempts: &[Attempt], evidence: &[Envelope]) {
        if self.quiet {
            return;
        }
        let mut store = Store::default();
        // What does not fit is told at the end.
        evidence.iter().for_each(|envelope| drop(store.add(envelope.clone())));
        let verdicts: Vec<String> = judge(Catalogue::embedded(), attempts, &store, now())
            .iter()
            .map(|result| format!("{} {}", result.id, result.verdict))
            .collect();
        let (visit, of) = (&self.visits[number], self.visits.len());
        remark(&format!(
            "[{:>3}/{of}] {}: {} ({took})  {}",
            number + 1,
            visit.target,
            visit.look.name(),
            verdicts.join(", ")
        ));
    }
}

/// What each check of a visit has to go by.
fn outcome(visit: &Visit<'_>, gathered: Result<Vec<Envelope>, String>) -> (Vec<Attempt>, Vec<Envelope>) {
    let mut hashes = Vec::new();
    let gathered = gathered.and_then(|evidence| {
        for envelope in &evidence {
            hashes.push(Sha256::of(&envelope.to_bytes().map_err(|error| error.to_string())?));
        }
        Ok(evidence)
    });
    let of = |objection: &Option<String>| match (objection, &gathered) {
        (Some(why), _) => Outcome::NotTested(why.clone()),
        (None, Err(why)) => Outcome::Inconclusive(why.clone()),
        (None, Ok(_)) => Outcome::Evidence(hashes.clone()),
    };
    let attempts = visit
        .checks
        .iter()
        .map(|(check, objection)| Attempt {
            check: check.clone(),
            target: visit.target.clone(),
            outcome: of(objection),
        })
        .collect();
    (attempts, gathered.unwrap_or_default())
}
