//! Logins: whether guessing is slowed, and whether what makers of devices have published lets one in.
//!
//! *Invariants*
//! - Nothing is tried without a [`Permitted`], which holds an authorisation that is in date.
//! - What let somebody in is not used: the connection ends there.
//! - No secret is in the facts, be it tried, right or returned.

mod door;
mod factory;
mod form;
mod rtsp;
mod snmp;
mod telnet;

use std::time::Instant;

use portreeve_assurance::evidence::{
    Effort, Seen,
    login::{DefaultLogins, Found, Guess, GuessedService, Login, LoginGuessing, Permitted, Reaction, TriedService},
    printable,
};

pub use door::Door;
pub use factory::{COMMUNITIES, FACTORY, Factory, LIST};
pub use form::{Form, TokenHeader, hidden_fields};
pub use rtsp::{Rtsp, answer as rtsp_answer};
pub use snmp::is_answer as is_snmp_answer;
pub use telnet::{Screen, Telling};

use crate::{dial::Gap, ssh};
use door::{Answered, Entry};

/// Wrong secrets that one login gets, if nothing else is said.
pub const GUESSES: u32 = 10;
/// Wrong secrets that one login gets at most.
pub const GUESSES_MAX: u32 = 50;
/// Logins of one run.
pub const DOORS_MAX: usize = 20;

/// A user whom nobody has, and secrets that nobody has; all of one length.
const NOBODY: &str = "portreeve-nobody";
fn wrong_secret(number: u32) -> String {
    format!("portreeve-wrong-{number:03}")
}

/// An account that was made for the audit: it may be locked afterwards, and its secret is shown to whoever answers at the address.
#[derive(Clone)]
pub struct TestAccount {
    /// Its name.
    pub user: String,
    /// Its secret, without which a lock that says nothing is not seen.
    pub secret: Option<String>,
}

impl std::fmt::Debug for TestAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestAccount").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Tries wrong secrets at each login, `guesses` of them, at most [`GUESSES_MAX`]. Each dialer's limits hold: a login that takes its time
/// needs more of it than the default.
pub async fn guess(permitted: &Permitted, doors: &[(Door<'_>, TestAccount)], guesses: u32) -> LoginGuessing {
    let mut services = Vec::new();
    let mut effort = Effort::default();
    for (door, account) in doors.iter().take(DOORS_MAX) {
        services.push(guess_at(door, account, guesses.min(GUESSES_MAX)).await);
        add(&mut effort, door);
    }
    LoginGuessing { authorisation: permitted.authorisation().clone(), services, effort }
}

fn add(effort: &mut Effort, door: &Door<'_>) {
    let Effort { connections, elapsed_ms } = door.dialer().effort();
    effort.connections = effort.connections.saturating_add(connections);
    effort.elapsed_ms = effort.elapsed_ms.saturating_add(elapsed_ms);
}

async fn guess_at(door: &Door<'_>, account: &TestAccount, guesses: u32) -> GuessedService {
    let names = [NOBODY, account.user.as_str()];
    let mut prober = Prober { door, names: &names, stranger: None, was_answered: false };
    // First, so that a form's own answer to nobody is known before any other is weighed.
    let wrong_user = prober.guess(NOBODY, &wrong_secret(0)).await;
    let right_before = prober.right(account).await;
    let mut wrong_secrets = Vec::new();
    for number in 1..=guesses {
        wrong_secrets.push(prober.guess(&account.user, &wrong_secret(number)).await);
    }
    GuessedService {
        port: door.port(),
        login: door.login(),
        account: printable(account.user.as_bytes()),
        right_before,
        wrong_user,
        wrong_secrets,
        right_after: prober.right(account).await,
    }
}

/// Asks one login again and again.
struct Prober<'a, 'd> {
    door: &'a Door<'d>,
    /// What is masked in its answers.
    names: &'a [&'a str],
    /// What nobody gets.
    stranger: Option<Answered>,
    was_answered: bool,
}

impl Prober<'_, '_> {
    async fn right(&mut self, account: &TestAccount) -> Seen<Guess> {
        match &account.secret {
            Some(secret) => self.guess(&account.user, secret).await,
            None => Seen::NotTried,
        }
    }

    async fn guess(&mut self, user: &str, secret: &str) -> Seen<Guess> {
        let started = Instant::now();
        let knocked = self.door.knock(user, secret, self.names).await;
        let elapsed_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let guess = |reaction, how, digest| Seen::Known(Guess { reaction, how, digest, elapsed_ms });
        match knocked {
            Ok(answered) => {
                self.was_answered = true;
                let reaction = self.reaction(&answered);
                guess(reaction, answered.how, answered.digest)
            }
            // Our own bounds are no word of the target.
            Err(gap @ (Gap::Connections(_) | Gap::Time(_))) => Seen::Unknown(gap.to_string()),
            Err(gap) if self.was_answered => guess(Reaction::Dropped, gap.to_string(), None),
            Err(gap) => Seen::Unknown(gap.to_string()),
        }
    }

    fn reaction(&mut self, answered: &Answered) -> Reaction {
        let stranger = self.stranger.get_or_insert_with(|| answered.clone());
        match answered.entry {
            Entry::LetIn => Reaction::LetIn,
            Entry::Refused => Reaction::Refused,
            Entry::Throttled => Reaction::Throttled,
            // A page says neither yes nor no: what nobody gets is no.
            Entry::Page if answered.how != stranger.how => Reaction::LetIn,
            Entry::Page => Reaction::Refused,
        }
    }
}

/// Tries the list of factory credentials at each login, and stops at the first that opens it.
pub async fn defaults(permitted: &Permitted, doors: &[Door<'_>]) -> DefaultLogins {
    let mut services = Vec::new();
    let mut effort = Effort::default();
    for door in doors.iter().take(DOORS_MAX) {
        let mut tried = 0;
        let found = seen(try_list(door, &mut tried).await);
        services.push(TriedService { port: door.port(), login: door.login(), tried, found });
        add(&mut effort, door);
    }
    DefaultLogins { authorisation: permitted.authorisation().clone(), list: LIST.to_owned(), services, effort }
}

fn seen<T>(result: Result<T, Gap>) -> Seen<T> {
    result.map_or_else(|gap| Seen::Unknown(gap.to_string()), Seen::Known)
}

async fn try_list(door: &Door<'_>, tried: &mut u32) -> Result<Found, Gap> {
    if let Door::Ssh(dialer) = door
        && ssh::takes_keys_only(dialer).await?
    {
        return Ok(Found::NoPasswords);
    }
    let stranger = door.knock(NOBODY, &wrong_secret(0), &[]).await?;
    if stranger.entry == Entry::LetIn {
        return Ok(Found::Anything);
    }
    let mut prober = Prober { door, names: &[], stranger: Some(stranger), was_answered: true };
    for (entry, index) in list(door.login()).iter().zip(0..) {
        let guess = match prober.guess(entry.user, entry.secret).await {
            Seen::Known(guess) => guess,
            unknown => return Err(Gap::Odd(unknown.gap().unwrap_or_default().to_owned())),
        };
        match guess.reaction {
            Reaction::LetIn => {
                *tried += 1;
                return Ok(Found::Entry { index, user: entry.user.to_owned() });
            }
            Reaction::Dropped | Reaction::Throttled => {
                return Err(Gap::Odd(format!("the target stops the attempts: {}", guess.how)));
            }
            Reaction::Refused => *tried += 1,
        }
    }
    if let Door::Snmp(dialer) = door {
        snmp::look(dialer).await?;
    }
    Ok(Found::Nothing)
}

fn list(login: Login) -> &'static [Factory] {
    if login == Login::Snmp { COMMUNITIES } else { FACTORY }
}
