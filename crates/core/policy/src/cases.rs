use std::{fmt, net::IpAddr, ops::Range};

use portreeve_types::{IdentityId, IdentityName, Kind, LifecycleState, Qos, UnixMillis};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use toml::Spanned;
use uuid::Uuid;

use crate::{Action, Context, Diagnostic, PolicyId, PolicySet, Posture, Subject};

/// Expected decisions, written beside the policies they test.
///
/// ```toml
/// [[case]]
/// identity = "lamp-1"
/// action = "publish"          # connect, publish, subscribe or receive
/// topic = "devices/lamp-1/state"
/// expect = "allow"            # or "deny"
/// at = "2030-01-01T08:30:00Z" # optional, as are source, client_id, qos, retain, transport
/// group = "lamps"             # optional, as are kind, owner, location, model, firmware, posture, state:
/// ```
///
/// What a case says of its identity goes before what the registry knows; an unknown identity is an active device.
#[derive(Clone, Debug)]
pub struct PolicyTests {
    file: String,
    cases: Vec<Case>,
}

#[derive(Clone, Debug)]
struct Case {
    line: u32,
    action: Action,
    expect: Expect,
    at: Option<UnixMillis>,
    transport: &'static str,
    qos: Option<Qos>,
    written: WrittenCase,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    case: Vec<Spanned<WrittenCase>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCase {
    identity: IdentityName,
    action: Spanned<String>,
    topic: Option<String>,
    expect: Expect,
    kind: Option<Kind>,
    group: Option<String>,
    owner: Option<String>,
    location: Option<String>,
    model: Option<String>,
    firmware: Option<String>,
    posture: Option<Posture>,
    state: Option<LifecycleState>,
    at: Option<Spanned<String>>,
    source: Option<IpAddr>,
    client_id: Option<String>,
    transport: Option<Spanned<String>>,
    qos: Option<Spanned<u8>>,
    #[serde(default)]
    retain: bool,
}

/// What a case expects, or got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// The request is granted.
    Allow,
    /// The request is refused.
    Deny,
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if *self == Self::Allow { "allow" } else { "deny" })
    }
}

/// How one case went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The line it begins at.
    pub line: u32,
    /// Who asks.
    pub identity: IdentityName,
    /// What for.
    pub action: Action,
    /// The topic or filter; empty for `connect`.
    pub topic: String,
    /// What the file says.
    pub expected: Expect,
    /// What the policies say.
    pub actual: Expect,
    /// Why they say so.
    pub reason: String,
}

impl CaseResult {
    /// Whether the policies say what the file says.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.expected == self.actual
    }
}

/// How all cases went. It prints the failures and a total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestReport {
    /// The file.
    pub file: String,
    /// Every case, in order.
    pub cases: Vec<CaseResult>,
    /// How many did not pass.
    pub failed: usize,
}

impl fmt::Display for TestReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in self.cases.iter().filter(|case| !case.passed()) {
            let CaseResult { line, identity, action, topic, expected, actual, reason } = case;
            writeln!(
                f,
                "{}:{line}: {identity} {action} {topic}: expected {expected}, got {actual}: {reason}",
                self.file
            )?;
        }
        write!(f, "{}: {} cases, {} failed", self.file, self.cases.len(), self.failed)
    }
}

impl PolicyTests {
    /// Reads a test file.
    ///
    /// # Errors
    /// What is wrong with the file, with line and column.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let problem = |span: Range<usize>, message: &str| Diagnostic::at(file, text, span.start, message);
        let written: WrittenFile = toml::from_str(text)
            .map_err(|error| vec![problem(error.span().unwrap_or_default(), error.message().trim())])?;
        let mut cases = Vec::new();
        let mut problems = Vec::new();
        for case in written.case {
            let line = problem(case.span(), "").line;
            match checked(line, case.into_inner()) {
                Ok(case) => cases.push(case),
                Err((span, message)) => problems.push(problem(span, &message)),
            }
        }
        if problems.is_empty() { Ok(Self { file: file.to_owned(), cases }) } else { Err(problems) }
    }

    /// Runs every case. `lookup` is the registry; `now` stands in where a case has no `at`.
    #[must_use]
    pub fn run(
        &self,
        policies: &PolicySet,
        lookup: impl Fn(&IdentityName) -> Option<Subject>,
        now: UnixMillis,
    ) -> TestReport {
        let cases: Vec<CaseResult> =
            self.cases.iter().map(|case| case.run(policies, lookup(&case.written.identity), now)).collect();
        let failed = cases.iter().filter(|case| !case.passed()).count();
        TestReport { file: self.file.clone(), cases, failed }
    }
}

/// Turns words into values; on error says which and where.
fn checked(line: u32, written: WrittenCase) -> Result<Case, (Range<usize>, String)> {
    let action = written.action.get_ref().parse::<Action>();
    let action = action.map_err(|error| (written.action.span(), error.to_string()))?;
    if action != Action::Connect && written.topic.is_none() {
        return Err((written.action.span(), format!("`{action}` needs a `topic`")));
    }
    let at = written.at.as_ref().map(|at| {
        let wrong = || (at.span(), "`at` is a time like 2030-01-01T08:30:00Z, from 1970 on".to_owned());
        let nanos = OffsetDateTime::parse(at.get_ref(), &Rfc3339).map_err(|_| wrong())?.unix_timestamp_nanos();
        u64::try_from(nanos / 1_000_000).map(UnixMillis).map_err(|_| wrong())
    });
    let transport = match &written.transport {
        None => "mqtt",
        Some(transport) => ["mqtt", "websocket"]
            .into_iter()
            .find(|word| word == transport.get_ref())
            .ok_or_else(|| (transport.span(), "a transport is one of: mqtt, websocket".to_owned()))?,
    };
    let qos = written
        .qos
        .as_ref()
        .map(|qos| Qos::from_bits(*qos.get_ref()).ok_or_else(|| (qos.span(), "`qos` is 0, 1 or 2".to_owned())));
    Ok(Case { line, action, expect: written.expect, at: at.transpose()?, transport, qos: qos.transpose()?, written })
}

impl Case {
    fn run(&self, policies: &PolicySet, known: Option<Subject>, now: UnixMillis) -> CaseResult {
        let written = &self.written;
        let context = Context {
            now: self.at.unwrap_or(now),
            source: written.source,
            transport: self.transport,
            client_id: written.client_id.as_deref().unwrap_or(written.identity.as_str()),
            qos: self.qos,
            retain: written.retain,
        };
        let topic = written.topic.as_deref().unwrap_or_default();
        let decision = policies.slice(&self.subject(known)).decide(self.action, topic, &context);
        let (actual, reason) = match &decision.verdict {
            Ok(permit) => (Expect::Allow, format!("permitted by {}", PolicyId::list(permit.policies()))),
            Err(denial) => (Expect::Deny, denial.to_string()),
        };
        CaseResult {
            line: self.line,
            identity: written.identity.clone(),
            action: self.action,
            topic: topic.to_owned(),
            expected: self.expect,
            actual,
            reason,
        }
    }

    fn subject(&self, known: Option<Subject>) -> Subject {
        let written = &self.written;
        let known = known.unwrap_or_else(|| Subject {
            id: IdentityId(Uuid::nil()),
            name: written.identity.clone(),
            kind: Kind::Device,
            group: String::new(),
            owner: String::new(),
            location: String::new(),
            model: String::new(),
            firmware: String::new(),
            posture: Posture::Current,
            state: LifecycleState::Active,
        });
        Subject {
            kind: written.kind.unwrap_or(known.kind),
            group: written.group.clone().unwrap_or(known.group),
            owner: written.owner.clone().unwrap_or(known.owner),
            location: written.location.clone().unwrap_or(known.location),
            model: written.model.clone().unwrap_or(known.model),
            firmware: written.firmware.clone().unwrap_or(known.firmware),
            posture: written.posture.unwrap_or(known.posture),
            state: written.state.unwrap_or(known.state),
            ..known
        }
    }
}
