//! A formal proof that policies stay within others: a solver (cvc5, a program of its own) is asked for a request that the ones allow and
//! the others do not.
//!
//! [`Prover::find`] looks for the solver, [`Prover::compare`] asks it, once for every kind of request.
//!
//! *Invariants*
//! - [`Answer::Within`] holds for every request and every registry, not for those that were tried.
//! - A solver that fails, gives up or is not there proves nothing.
//! - The solver runs within [`SOLVER_TIME`], has no network or files to read, and ends with the question.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use cedar_policy::{PolicySet as CedarSet, RequestEnv, Schema};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicySet, solver::LocalSolver};
use portreeve_policy::PolicySet;
use tokio::{process::Command, time::timeout};

/// How long the solver may take for one kind of request.
pub const SOLVER_TIME: Duration = Duration::from_secs(60);
/// How long it may take to say its version.
const VERSION_TIME: Duration = Duration::from_secs(10);
/// Longest counterexample that is told, characters.
const EXAMPLE_CHARS_MAX: usize = 2_000;

/// The solver.
#[derive(Clone, Debug)]
pub struct Prover {
    program: PathBuf,
    version: String,
}

/// For one kind of request: who, does what, with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `publish`, `subscribe` or `connect`.
    pub action: String,
    /// What was found.
    pub answer: Answer,
}

/// What a solver finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is allowed that the ceiling does not allow.
    Within,
    /// Something is: an example.
    Beyond(String),
    /// It is not known: why.
    Unknown(String),
}

impl Prover {
    /// The solver of the environment variable `CVC5`, or `cvc5` of the path. `None`, if there is none that says its version.
    pub async fn find() -> Option<Self> {
        let program = env::var_os("CVC5").map_or_else(|| PathBuf::from("cvc5"), PathBuf::from);
        Self::at(&program).await
    }

    /// A certain one.
    pub async fn at(program: &Path) -> Option<Self> {
        let asked = Command::new(program).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
        let said = timeout(VERSION_TIME, asked).await.ok()?.ok().filter(|said| said.status.success())?;
        // "This is cvc5 version 1.0.3 [git ...]"
        let text = String::from_utf8_lossy(&said.stdout);
        let version = text.lines().next()?.split("version ").nth(1)?.split_whitespace().next()?;
        Some(Self { program: program.to_owned(), version: format!("cvc5 {version}") })
    }

    /// Its name and version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether `candidate` allows nothing that `ceiling` does not: one finding for every kind of request.
    pub async fn compare(&self, candidate: &PolicySet, ceiling: &PolicySet) -> Vec<Finding> {
        let compared = match candidate.compared_with(ceiling) {
            Ok(compared) => compared,
            Err(why) => return vec![Finding { action: "any".into(), answer: Answer::Unknown(why) }],
        };
        let mut findings = Vec::new();
        for kind in compared.schema.request_envs() {
            let asked = self.ask(&compared.candidate, &compared.ceiling, &kind, compared.schema);
            let answer = match timeout(SOLVER_TIME, asked).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(why)) => Answer::Unknown(shortened(&why)),
                Err(_) => Answer::Unknown(format!("no answer within {} s", SOLVER_TIME.as_secs())),
            };
            findings.push(Finding { action: kind.action().id().unescaped().to_owned(), answer });
        }
        findings
    }

    async fn ask(
        &self,
        candidate: &CedarSet,
        ceiling: &CedarSet,
        kind: &RequestEnv,
        schema: &Schema,
    ) -> Result<Answer, String> {
        let say = |error: &dyn std::fmt::Display| error.to_string();
        let candidate = CompiledPolicySet::compile(candidate, kind, schema).map_err(|error| say(&error))?;
        let ceiling = CompiledPolicySet::compile(ceiling, kind, schema).map_err(|error| say(&error))?;
        let mut command = Command::new(&self.program);
        command.args(["--lang", "smt", &format!("--tlimit={}", SOLVER_TIME.as_millis())]).kill_on_drop(true);
        let solver = LocalSolver::from_command(&mut command).map_err(|error| say(&error))?;
        let mut compiler = CedarSymCompiler::new(solver).map_err(|error| say(&error))?;
        let found = compiler.check_implies_with_counterexample_opt(&candidate, &ceiling).await;
        Ok(match found.map_err(|error| say(&error))? {
            None => Answer::Within,
            Some(example) => Answer::Beyond(shortened(&example.request.to_string())),
        })
    }
}

fn shortened(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EXAMPLE_CHARS_MAX).collect()
}
