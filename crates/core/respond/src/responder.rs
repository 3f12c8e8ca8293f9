use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use portreeve_types::{IdentityId, UnixMillis};
use serde::{Deserialize, Serialize};

use crate::{
    Action, BRAKE_WINDOW_MS, Blocks, Change, Damaged, Decision, FOR_S_MAX, Facts, Finding, Held, Identity, Measure,
    Mode, Now, ResponseSettings, Rule, Source, Step, TEXT_BYTES_MAX, TextError, Verdict,
    brake::{Brake, Class, Touched},
    measure::Lasting,
    records::Pending,
    settings::percent,
    text,
};

/// Most measures that stand at one time. A further one is not taken, and that alerts.
pub const MEASURES_MAX: usize = 10_000;
/// Most sources that are blocked at one time, a part of the measures. A further one is not blocked, and that alerts: if others made
/// room, whoever has many addresses could lift the block that hurts.
pub const BLOCKS_MAX: usize = 4_096;
/// How far wall and running clock may drift apart before what is stored follows the wall clock, milliseconds.
pub const CLOCK_STEP_MS: u64 = 10_000;

const MEASURE: &str = "respond/measure/";
const BRAKE: &str = "respond/brake/";
/// The first measure's number that was never given out.
const NEXT: &str = "respond/next";
/// Above any number that is ever reached; a stored one above it is damage, not a number to go on from.
const NUMBERS_MAX: u64 = 1 << 53;

/// A measure that is over, for the caller to undo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lift {
    /// What stood.
    pub measure: Measure,
    /// Who lifted it; the hub when its time was over.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Why nothing was lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiftError {
    /// It ended, was lifted, or never was.
    #[error("no measure {0} stands")]
    Unknown(u64),
    /// Who or why cannot be kept.
    #[error(transparent)]
    Text(#[from] TextError),
}

#[derive(Debug)]
struct Standing {
    measure: Measure,
    /// When it ends, by the running clock.
    ends_ms: Option<u64>,
}

/// When a sliding count was last touched, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TouchedAt {
    at: UnixMillis,
}

/// Decides about findings, and keeps what stands.
///
/// Timers go by the running clock, so that setting the wall clock neither lifts anything nor keeps it. What is stored goes by the
/// wall clock, and is written again when that was set. At a restart a measure has left what the wall clock says, at most its whole
/// time; what ended meanwhile is told by the first [`Responder::tick`] like any other end.
#[derive(Debug)]
pub struct Responder {
    settings: ResponseSettings,
    standing: BTreeMap<u64, Standing>,
    /// Which measure does what to whom.
    by_subject: BTreeMap<Lasting, BTreeMap<Touched, u64>>,
    next: u64,
    brake: Brake,
    /// What the brake would say if every dry run were real.
    rehearsal: Brake,
    /// When each bound last held something back, by the running clock.
    held_ms: BTreeMap<Held, u64>,
    blocks: Arc<Blocks>,
    /// The wall clock less the running one, as records have it.
    clock_offset_ms: i128,
    pending: Pending,
}

fn offset_ms(now: Now) -> i128 {
    i128::from(now.wall.0) - i128::from(now.running_ms)
}

fn measure_key(id: u64) -> String {
    format!("{MEASURE}{id:020}")
}

fn brake_key(class: Class, touched: Touched) -> String {
    format!("{BRAKE}{}/{touched}", class.as_str())
}

impl Responder {
    /// Takes up what was stored: the records whose keys begin with `respond/`, in any order; others are not looked at.
    ///
    /// A record that cannot be used is returned and left out; what stood by it has to be looked at by somebody.
    #[must_use]
    pub fn rebuild<'a>(
        settings: ResponseSettings,
        records: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        now: Now,
    ) -> (Self, Vec<Damaged>) {
        let mut responder = Self {
            settings,
            standing: BTreeMap::new(),
            by_subject: BTreeMap::new(),
            next: 1,
            brake: Brake::default(),
            rehearsal: Brake::default(),
            held_ms: BTreeMap::new(),
            blocks: Arc::default(),
            clock_offset_ms: offset_ms(now),
            pending: Pending::default(),
        };
        let restore = |(key, bytes)| responder.restore(key, bytes, now).err().map(|why| Damaged::new(key, why));
        let damaged = records.into_iter().filter_map(restore).collect();
        responder.spare();
        (responder, damaged)
    }

    fn restore(&mut self, key: &str, bytes: &[u8], now: Now) -> Result<(), String> {
        if let Some(id) = key.strip_prefix(MEASURE) {
            return self.restore_measure(id, bytes, now);
        }
        if let Some(touched) = key.strip_prefix(BRAKE) {
            return self.restore_touched(touched, bytes, now);
        }
        if key == NEXT {
            let next: u64 = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            let reached = Some(next).filter(|next| *next <= NUMBERS_MAX).ok_or("not a number that was reached")?;
            self.next = self.next.max(reached);
        }
        Ok(())
    }

    fn restore_measure(&mut self, id: &str, bytes: &[u8], now: Now) -> Result<(), String> {
        // Whatever the record says, its number is taken.
        let number = id.parse().ok().filter(|number| *number < NUMBERS_MAX).ok_or("not a measure's number")?;
        self.next = self.next.max(number + 1);
        let measure: Measure = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if measure.id != number || measure_key(number).strip_prefix(MEASURE) != Some(id) {
            return Err("the record of another measure".to_owned());
        }
        let is_clean = [&measure.finding, &measure.rule].into_iter().all(|text| text::is_plain(text));
        if !is_clean || measure.subject != measure.subject.clean() {
            return Err("a text that would not have been kept".to_owned());
        }
        if measure.step.lasting().is_none() {
            return Err("a step that does not last".to_owned());
        }
        if self.same_as(&measure.step).is_some() {
            return Err("another measure does the same".to_owned());
        }
        self.room_for(&measure.step).map_err(|held| held.to_string())?;
        let ends_ms = match (measure.until, measure.for_s) {
            (None, None) if measure.step.is_quarantine() => None,
            (Some(until), Some(for_s @ 1..=FOR_S_MAX)) => {
                let left_ms = until.0.saturating_sub(now.wall.0).min(for_s * 1000);
                Some(now.running_ms.saturating_add(left_ms))
            }
            _ => return Err("an end that no rule can set".to_owned()),
        };
        let until = ends_ms.map(|ends_ms| wall_of(ends_ms, now));
        let bounded = Measure { until, ..measure };
        if measure.until.is_some_and(|stored| until < Some(stored)) {
            // Else each restart under a clock that was set back would grant it its whole time again.
            self.pending.put(measure_key(number), &bounded);
        }
        self.insert(Standing { measure: bounded, ends_ms });
        Ok(())
    }

    /// A time that is still to come counts as now.
    fn restore_touched(&mut self, touched: &str, bytes: &[u8], now: Now) -> Result<(), String> {
        let (class, who) = touched.split_once('/').ok_or("no class")?;
        let class = Class::ALL.into_iter().find(|known| known.as_str() == class).ok_or("an unknown class")?;
        let who: Touched = who.parse()?;
        let TouchedAt { at } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let age_ms = now.wall.0.saturating_sub(at.0);
        if age_ms >= BRAKE_WINDOW_MS {
            self.pending.delete(brake_key(class, who));
            return Ok(());
        }
        if at > now.wall {
            self.pending.put(brake_key(class, who), &TouchedAt { at: now.wall });
        }
        // A running clock that began less than an hour ago has no time before; then it counts for longer.
        self.brake.restore(class, who, now.running_ms.saturating_sub(age_ms))
    }

    /// Goes on with other settings. What stands goes on standing, except that a block covers no address that is exempt now.
    pub fn apply(&mut self, settings: ResponseSettings) {
        self.settings = settings;
        self.spare();
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &ResponseSettings {
        &self.settings
    }

    /// What stands, by number.
    pub fn measures(&self) -> impl Iterator<Item = &Measure> {
        self.standing.values().map(|standing| &standing.measure)
    }

    /// How many identities and sources the brake counts within the hour.
    #[must_use]
    pub fn brake_used(&self) -> usize {
        self.brake.used()
    }

    /// The quarantine of a rule that stands for an identity.
    #[must_use]
    pub fn quarantine_of(&self, identity: IdentityId) -> Option<&Measure> {
        let id = self.by_subject.get(&Lasting::Quarantine)?.get(&Touched::Identity(identity))?;
        self.standing.get(id).map(|standing| &standing.measure)
    }

    /// The blocked sources, as they are now.
    #[must_use]
    pub fn blocks(&self) -> Arc<Blocks> {
        Arc::clone(&self.blocks)
    }

    /// What has to be written, in one commit, before what was decided is done.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.pending.take()
    }

    /// Changes that could not be written come again with the next ones.
    pub fn give_back(&mut self, changes: Vec<Change>) {
        self.pending.give_back(changes);
    }

    /// What to do about a finding. `fleet` is how many identities are in service: what the brake's share is of.
    ///
    /// A step that it says to take is counted and stands from now on, whether the caller manages to take it or not.
    pub fn decide(&mut self, finding: &Finding<'_>, facts: &Facts<'_>, fleet: u64, now: Now) -> Decision {
        self.keep_time(now);
        let Some(rule) = self.settings.rule_for(finding, facts).cloned() else {
            return self.without_rule(finding);
        };
        let (verdict, why) = match rule.step(facts, self.settings.block_ipv6_prefix_bits) {
            None => (Verdict::None, "it says to alert".to_owned()),
            Some(step) => self.weigh(step, &rule, finding, facts, fleet, now),
        };
        let why = format!("{}: {why}", rule.place);
        Decision { verdict, alert: true, rule: Some(rule.place), why }
    }

    fn without_rule(&self, finding: &Finding<'_>) -> Decision {
        let alert = finding.severity >= self.settings.alert_from;
        let why = match alert {
            true => format!("no rule fits; a finding of severity {} alerts", finding.severity),
            false => format!("no rule fits, and {} does not alert", finding.severity),
        };
        Decision { verdict: Verdict::None, alert, rule: None, why }
    }

    fn weigh(
        &mut self,
        step: Step,
        rule: &Rule,
        finding: &Finding<'_>,
        facts: &Facts<'_>,
        fleet: u64,
        now: Now,
    ) -> (Verdict, String) {
        if let Some(who) = self.exempted(&step, facts) {
            let why = format!("it says to {step}, but {who} is exempt");
            return (Verdict::Exempt { step }, why);
        }
        if let Some(why) = self.is_idle(&step, facts) {
            return (Verdict::None, why);
        }
        let is_rehearsal = rule.mode.min(self.settings.mode) == Mode::DryRun;
        if matches!(step, Step::Revoke { .. }) {
            let why = format!("two persons are to decide whether to {step}");
            return match is_rehearsal {
                true => (Verdict::DryRun { step, held: None }, format!("dry run: {why}")),
                false => (Verdict::AskTwoPersons { step }, why),
            };
        }
        let admitted = self.admit(&step, facts, fleet, is_rehearsal, now);
        if is_rehearsal {
            let why =
                format!("dry run: it would {step}{}", admitted.err().map_or(String::new(), |h| format!(", but {h}")));
            return (Verdict::DryRun { step, held: admitted.err() }, why);
        }
        if let Err(held) = admitted {
            let first = self.note_held(held, now);
            let why = format!("it says to {step}, but {held}");
            return (Verdict::Braked { step, held, first }, why);
        }
        let measure = step.lasting().map(|_| self.stand(&step, rule, finding, now));
        let why = format!("{step}, because of {}", text::clean(finding.kind, KIND_BYTES_MAX));
        (Verdict::Act { step, measure }, why)
    }

    /// Who of those that the step meets is exempt. An exempt address protects whoever is there.
    fn exempted(&self, step: &Step, facts: &Facts<'_>) -> Option<String> {
        let exempt = &self.settings.exempt;
        let behind = if step.is_block() { facts.behind } else { &[] };
        let about = facts.identity.iter().chain(behind).find(|identity| exempt.has_identity(identity));
        let is_spared = |address: &IpAddr| {
            if step.is_block() { exempt.is_never_blocked(*address) } else { exempt.has_address(*address) }
        };
        let address = facts.source.filter(is_spared);
        about.map(|identity| identity.name.to_string()).or_else(|| address.map(|address| address.to_string()))
    }

    /// Why there is nothing to do: a person confined the identity, and a rule's end would free it.
    fn is_idle(&self, step: &Step, facts: &Facts<'_>) -> Option<String> {
        let identity = facts.identity.filter(|identity| identity.confined && step.is_quarantine())?;
        self.same_as(step).is_none().then(|| format!("{} is confined already", identity.name))
    }

    /// The measure that does the same already.
    fn same_as(&self, step: &Step) -> Option<u64> {
        let (lasting, whom) = step.lasting()?;
        self.by_subject.get(&lasting)?.get(&whom).copied()
    }

    fn count(&self, lasting: Lasting) -> usize {
        self.by_subject.get(&lasting).map_or(0, BTreeMap::len)
    }

    /// Counts those whom the step meets, unless a bound holds it back.
    fn admit(&mut self, step: &Step, facts: &Facts<'_>, fleet: u64, is_rehearsal: bool, now: Now) -> Result<(), Held> {
        if self.same_as(step).is_none() {
            self.room_for(step)?;
            self.room_for_quarantine(step, fleet)?;
        }
        let brake = self.settings.brake;
        let touched = touched(step, facts);
        let (class, allowed, held) = match step {
            Step::Quarantine { .. } => (Class::Confine, brake.confine.of(fleet), Held::ConfineShare),
            Step::BlockSource { .. } if facts.behind.is_empty() => {
                (Class::Stranger, u64::from(brake.strangers_per_hour), Held::Strangers)
            }
            _ => (Class::Interrupt, brake.interrupt.of(fleet), Held::InterruptShare),
        };
        let counts = if is_rehearsal { &mut self.rehearsal } else { &mut self.brake };
        if !counts.admit(class, &touched, allowed, now.running_ms) {
            return Err(held);
        }
        if !is_rehearsal {
            touched.iter().for_each(|who| self.pending.put(brake_key(class, *who), &TouchedAt { at: now.wall }));
        }
        Ok(())
    }

    fn room_for(&self, step: &Step) -> Result<(), Held> {
        if step.is_block() && self.count(Lasting::Block) >= BLOCKS_MAX {
            return Err(Held::Blocks);
        }
        if step.lasting().is_some() && self.standing.len() >= MEASURES_MAX { Err(Held::Measures) } else { Ok(()) }
    }

    /// An hour's share, hour after hour, would be everybody.
    fn room_for_quarantine(&self, step: &Step, fleet: u64) -> Result<(), Held> {
        let brake = self.settings.brake;
        let allowed = percent(brake.quarantined_percent, fleet).max(u64::from(brake.confine.at_least));
        let is_full = step.is_quarantine() && self.count(Lasting::Quarantine) as u64 >= allowed;
        if is_full { Err(Held::Quarantined) } else { Ok(()) }
    }

    /// Whether this bound held nothing back for an hour.
    fn note_held(&mut self, held: Held, now: Now) -> bool {
        let last_ms = self.held_ms.insert(held, now.running_ms);
        last_ms.is_none_or(|last_ms| now.running_ms.saturating_sub(last_ms) >= BRAKE_WINDOW_MS)
    }

    /// A measure for the step; one that does the same lasts longer instead.
    fn stand(&mut self, step: &Step, rule: &Rule, finding: &Finding<'_>, now: Now) -> u64 {
        let for_s = rule.for_s();
        let ends_ms = for_s.map(|for_s| now.running_ms.saturating_add(for_s.saturating_mul(1000)));
        let before = self.same_as(step).and_then(|id| self.standing.remove(&id));
        let mut standing = before.unwrap_or_else(|| self.begin(step.clone(), rule, finding, ends_ms, now));
        let id = standing.measure.id;
        standing.ends_ms = standing.ends_ms.zip(ends_ms).map(|(before, after)| before.max(after));
        standing.measure.for_s = standing.measure.for_s.zip(for_s).map(|(before, after)| before.max(after));
        standing.measure.until = standing.ends_ms.map(|ends_ms| wall_of(ends_ms, now));
        standing.measure.step = stricter(&standing.measure.step, step.clone());
        self.pending.put(measure_key(id), &standing.measure);
        self.insert(standing);
        id
    }

    fn begin(&mut self, step: Step, rule: &Rule, finding: &Finding<'_>, ends_ms: Option<u64>, now: Now) -> Standing {
        let id = self.next;
        self.next += 1;
        self.pending.put(NEXT.to_owned(), &self.next);
        let measure = Measure {
            id,
            step,
            subject: finding.subject.clean(),
            finding: text::clean(finding.id, TEXT_BYTES_MAX),
            rule: rule.place.clone(),
            since: now.wall,
            until: None,
            for_s: rule.for_s(),
        };
        Standing { measure, ends_ms }
    }

    fn insert(&mut self, standing: Standing) {
        if let Some((lasting, whom)) = standing.measure.step.lasting() {
            self.by_subject.entry(lasting).or_default().insert(whom, standing.measure.id);
        }
        self.block(&standing);
        self.standing.insert(standing.measure.id, standing);
    }

    /// Ends a measure before its time. What the brake counted stays counted.
    ///
    /// # Errors
    /// [`LiftError`]; nothing is changed then.
    pub fn lift(&mut self, id: u64, who: &str, why: &str, now: Now) -> Result<Lift, LiftError> {
        self.keep_time(now);
        let (by, why) = (text::check_name(who)?.to_owned(), text::check(why, TEXT_BYTES_MAX)?.to_owned());
        let measure = self.remove(id).ok_or(LiftError::Unknown(id))?;
        Ok(Lift { measure, by, why })
    }

    /// What is over by now. To be called about once a second.
    pub fn tick(&mut self, now: Now) -> Vec<Lift> {
        self.keep_time(now);
        let is_over = |standing: &&Standing| standing.ends_ms.is_some_and(|ends_ms| ends_ms <= now.running_ms);
        let over: Vec<u64> = self.standing.values().filter(is_over).map(|standing| standing.measure.id).collect();
        let lift = |measure| Lift { measure, by: "hub".to_owned(), why: "its time is over".to_owned() };
        over.into_iter().filter_map(|id| self.remove(id)).map(lift).collect()
    }

    fn remove(&mut self, id: u64) -> Option<Measure> {
        let standing = self.standing.remove(&id)?;
        if let Some((lasting, whom)) = standing.measure.step.lasting() {
            self.by_subject.entry(lasting).or_default().remove(&whom);
        }
        if let Step::BlockSource { source } = standing.measure.step {
            Arc::make_mut(&mut self.blocks).unblock(source);
        }
        self.pending.delete(measure_key(id));
        Some(standing.measure)
    }

    fn keep_time(&mut self, now: Now) {
        for (class, who) in self.brake.forget(now.running_ms) {
            self.pending.delete(brake_key(class, who));
        }
        self.rehearsal.forget(now.running_ms);
        let offset_ms = offset_ms(now);
        if offset_ms.abs_diff(self.clock_offset_ms) >= u128::from(CLOCK_STEP_MS) {
            self.clock_offset_ms = offset_ms;
            self.follow_wall_clock(now);
        }
    }

    /// The wall clock was set: what is stored has to mean the same moments in it.
    fn follow_wall_clock(&mut self, now: Now) {
        for Standing { measure, ends_ms } in self.standing.values_mut() {
            measure.until = ends_ms.map(|ends_ms| wall_of(ends_ms, now));
            self.pending.put(measure_key(measure.id), measure);
        }
        for (class, who, at_ms) in self.brake.iter() {
            self.pending.put(brake_key(class, who), &TouchedAt { at: wall_of(at_ms, now) });
        }
    }

    fn block(&mut self, standing: &Standing) {
        if let (Step::BlockSource { source }, Some(ends_ms)) = (&standing.measure.step, standing.ends_ms) {
            Arc::make_mut(&mut self.blocks).block(*source, ends_ms);
        }
    }

    /// No block covers whom the settings exempt.
    fn spare(&mut self) {
        Arc::make_mut(&mut self.blocks).exempt(self.settings.exempt.never_blocked());
    }
}

/// Most bytes of a finding's kind that are told.
const KIND_BYTES_MAX: usize = 64;

/// What the wall clock says, or said, at a moment of the running one.
fn wall_of(at_ms: u64, now: Now) -> UnixMillis {
    let ahead_ms = at_ms.saturating_sub(now.running_ms);
    let behind_ms = now.running_ms.saturating_sub(at_ms);
    UnixMillis(now.wall.0.saturating_add(ahead_ms).saturating_sub(behind_ms))
}

/// Whom a step meets: the identities, or a source that none is known behind.
fn touched(step: &Step, facts: &Facts<'_>) -> BTreeSet<Touched> {
    match step {
        Step::BlockSource { source } if facts.behind.is_empty() => BTreeSet::from([Touched::Source(*source)]),
        Step::BlockSource { .. } => facts.behind.iter().map(|identity| Touched::Identity(identity.id)).collect(),
        Step::Throttle { identity, .. }
        | Step::Disconnect { identity, .. }
        | Step::Quarantine { identity, .. }
        | Step::Revoke { identity, .. } => BTreeSet::from([Touched::Identity(*identity)]),
    }
}

/// Of two throttles the one with the lower rate; else the second.
fn stricter(before: &Step, after: Step) -> Step {
    match (before, &after) {
        (Step::Throttle { messages_per_s: old, .. }, Step::Throttle { messages_per_s: new, .. }) if old < new => {
            before.clone()
        }
        _ => after,
    }
}

impl Rule {
    /// What it does with these facts; nothing if it only alerts. It fits them, so whom it needs is known.
    fn step(&self, facts: &Facts<'_>, ipv6_prefix_bits: u8) -> Option<Step> {
        if let Action::BlockSource { .. } = self.action {
            return facts.source.map(|source| Step::BlockSource { source: Source::of(source, ipv6_prefix_bits) });
        }
        let Identity { id: identity, name, .. } = facts.identity?;
        let name = name.clone();
        match self.action {
            Action::Throttle { messages_per_s, .. } => Some(Step::Throttle { identity, name, messages_per_s }),
            Action::Disconnect => Some(Step::Disconnect { identity, name }),
            Action::Quarantine { .. } => Some(Step::Quarantine { identity, name }),
            Action::Revoke => Some(Step::Revoke { identity, name }),
            Action::Alert | Action::BlockSource { .. } => None,
        }
    }

    fn for_s(&self) -> Option<u64> {
        match self.action {
            Action::Throttle { for_s, .. } | Action::BlockSource { for_s } => Some(for_s),
            Action::Quarantine { for_s } => for_s,
            Action::Alert | Action::Disconnect | Action::Revoke => None,
        }
    }
}
