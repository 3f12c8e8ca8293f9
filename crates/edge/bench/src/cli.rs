//! `portreeve bench …`: the command line of a [`Plan`].

use std::{io::Write as _, path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use portreeve_mqtt::Version;
use portreeve_types::Qos;

use crate::{BenchError, Files, Group, Pattern, Plan, Scenario, TlsVersion};

/// `{n}` as help shows it. clap takes the bare letters for a line break; a style reset between them, which is never seen
/// and which clap removes where there are no styles, keeps them whole.
macro_rules! n {
    () => {
        "{\u{1b}[0mn}"
    };
}

/// Load a broker and measure what its work costs
///
/// Every figure is about a broker that is doing real work for real clients: full TLS handshakes with client certificates,
/// and messages that are checked for loss and order. Exit status 1 says that something was lost or out of order.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum BenchCommand {
    /// Connect and disconnect over and over: what does a full handshake with CONNECT cost
    #[command(
        after_help = "Example:\n  portreeve bench connect --bundle bundles/bench --concurrency 20 --pid $(pidof portreeve)"
    )]
    Connect(ConnectArgs),
    /// Open sessions and leave them alone: what does one weigh
    #[command(
        after_help = concat!("Example:\n  portreeve bench idle --bundle 'bundles/dev-", n!(), "' --client-id 'dev-", n!(), "' --count 1000 --pid $(pidof portreeve)")
    )]
    Idle(IdleArgs),
    /// Pairs of clients, one publishes to the other
    #[command(
        after_help = "Examples:\n  portreeve bench publish --bundle bundles/bench --count 20 --qos 1\n  portreeve bench publish --bundle bundles/bench --rate 10000 --size 1024"
    )]
    Publish(MessageArgs),
    /// One client publishes to many
    #[command(after_help = "Example:\n  portreeve bench fanout --bundle bundles/bench --count 500 --rate 200")]
    Fanout(MessageArgs),
    /// Many clients publish to one
    #[command(
        after_help = "Example:\n  portreeve bench fanin --bundle bundles/bench --count 1000 --qos 1 --rate 10000"
    )]
    Fanin(MessageArgs),
}

/// Whom to load, as whom, and how long.
#[derive(Clone, Debug, Args)]
struct Common {
    /// The broker; other machines only with --allow-remote
    #[arg(long, default_value = "localhost:8883", value_name = "HOST:PORT")]
    broker: String,
    /// The name in the broker's certificate, if it is not HOST
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    #[arg(
        long,
        value_name = "DIR",
        required_unless_present_all = ["ca", "cert", "key"],
        help = concat!("Directory with ca.pem, cert.pem and key.pem; ", n!(), " in it is the number of the client, from 0")
    )]
    bundle: Option<String>,
    /// The broker's CA, instead of ca.pem of the bundle
    #[arg(long, value_name = "FILE")]
    ca: Option<Pattern>,
    /// The client's certificate chain, instead of cert.pem of the bundle
    #[arg(long, value_name = "FILE")]
    cert: Option<Pattern>,
    /// The client's private key, instead of key.pem of the bundle
    #[arg(long, value_name = "FILE")]
    key: Option<Pattern>,
    #[arg(
        long,
        default_value = "bench:{n}",
        value_name = "PATTERN",
        help = concat!("Client identifiers; ", n!(), " is the number of the client. A device's begins with its name")
    )]
    client_id: Pattern,
    /// How many: sessions, pairs, receivers of a fan-out, publishers of a fan-in [default: 20 to 1000]
    #[arg(long, value_name = "N")]
    count: Option<u32>,
    /// Speak MQTT 3.1.1 instead of 5.0
    #[arg(long)]
    v311: bool,
    /// TLS version
    #[arg(long, value_enum, default_value = "1.3", value_name = "VERSION")]
    tls: TlsVersion,
    /// Key agreement [default: offer all three, the first foremost]
    #[arg(long, value_enum)]
    group: Option<Group>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time)]
    duration: Duration,
    /// How long to load before that
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = time)]
    warm_up: Duration,
    /// Process of the broker, to measure its CPU time and memory
    #[arg(long)]
    pid: Option<u32>,
    /// Threads of the load generator
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: u32,
    /// Connections on their way at the same time
    #[arg(long, default_value_t = 20, value_name = "N")]
    concurrency: u32,
    /// MQTT keep-alive, seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    keep_alive: u16,
    /// Load another machine, with the consent of whoever runs it
    #[arg(long)]
    allow_remote: bool,
    /// Show no progress
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Debug, Args)]
struct ConnectArgs {
    #[command(flatten)]
    common: Common,
    /// Connections per second [default: as many as the broker takes]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
}

#[derive(Clone, Debug, Args)]
struct IdleArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Clone, Debug, Args)]
struct MessageArgs {
    #[command(flatten)]
    common: Common,
    #[arg(
        long,
        default_value = "bench/{pair}",
        value_name = "PATTERN",
        help = concat!("Topics; ", n!(), " is the number of the publishing client, {pair} that of the pair or publisher")
    )]
    topic: Pattern,
    /// What receivers subscribe to, if it is not the topic itself: a filter that matches it, such as '$share/g/bench/{pair}'
    #[arg(long, value_name = "PATTERN")]
    filter: Option<Pattern>,
    /// Nobody receives: count and time the acknowledgements instead, as for messages that are stored for absent clients
    #[arg(long)]
    publish_only: bool,
    /// Quality of service of messages and subscriptions
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Bytes of each payload, 24 at least
    #[arg(long, default_value_t = 64, value_name = "BYTES")]
    size: usize,
    /// Messages per second of all publishers together [default: as many as the broker takes]
    #[arg(long, value_name = "N")]
    rate: Option<u64>,
    /// Messages of one publisher on their way at most [default: 100 with QoS 1 and 2, what TCP holds with QoS 0]
    #[arg(long, value_name = "N")]
    window: Option<u16>,
    /// How long what is on its way in the end may take
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    drain: Duration,
    /// Lost messages are no failure
    #[arg(long)]
    allow_loss: bool,
}

/// `90`, `90s`, `500ms`, `2m`.
fn time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| "write a number and ms, s or m, such as 10s")?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "" | "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err("the unit is ms, s or m".into()),
    }
}

impl BenchArgs {
    /// The plan that these arguments mean.
    ///
    /// # Errors
    /// [`BenchError::Usage`].
    pub fn plan(&self) -> Result<Plan, BenchError> {
        let plan = match &self.command {
            BenchCommand::Connect(args) => Plan { rate_per_s: args.rate, ..args.common.plan(Scenario::Connect)? },
            BenchCommand::Idle(args) => args.common.plan(Scenario::Idle)?,
            BenchCommand::Publish(args) => args.plan(Scenario::Publish)?,
            BenchCommand::Fanout(args) => args.plan(Scenario::Fanout)?,
            BenchCommand::Fanin(args) => args.plan(Scenario::Fanin)?,
        };
        plan.check()?;
        Ok(plan)
    }

    fn common(&self) -> &Common {
        match &self.command {
            BenchCommand::Connect(args) => &args.common,
            BenchCommand::Idle(args) => &args.common,
            BenchCommand::Publish(args) | BenchCommand::Fanout(args) | BenchCommand::Fanin(args) => &args.common,
        }
    }

    /// Runs, shows progress on standard error and the report on standard output. The exit status: 0 nothing lost,
    /// 1 loss or disorder, 2 usage, 3 broker not reachable, 4 refused by it.
    #[must_use]
    pub fn execute(&self, json: bool) -> u8 {
        let quiet = self.common().quiet;
        // Nothing useful can be done about a closed standard error.
        let say = |line: &str| drop(writeln!(std::io::stderr(), "portreeve bench: {line}"));
        let mut progress = |line: &str| {
            if !quiet || line.starts_with("warning") {
                say(line);
            }
        };
        let report = match self.plan().and_then(|plan| crate::run(&plan, &mut progress)) {
            Ok(report) => report,
            Err(error) => {
                say(&error.to_string());
                return error.exit_status();
            }
        };
        let text = if json {
            serde_json::to_string_pretty(&report).map_or_else(|error| error.to_string(), |text| text + "\n")
        } else {
            report.table()
        };
        let written = std::io::stdout().write_all(text.as_bytes());
        if !report.is_intact() {
            say(&report.complaint());
        }
        u8::from(written.is_err() || !report.is_intact())
    }
}

impl Common {
    fn plan(&self, scenario: Scenario) -> Result<Plan, BenchError> {
        let usage = |error: crate::PatternError| BenchError::Usage(error.to_string());
        let file = |given: &Option<Pattern>, name: &str| match (given, &self.bundle) {
            (Some(given), _) => Ok(given.clone()),
            (None, bundle) => {
                let folder = PathBuf::from(bundle.as_deref().unwrap_or("."));
                Pattern::new(&folder.join(name).to_string_lossy()).map_err(usage)
            }
        };
        let files = Files {
            ca: file(&self.ca, "ca.pem")?,
            cert: file(&self.cert, "cert.pem")?,
            key: file(&self.key, "key.pem")?,
        };
        let defaults = Plan::new(scenario, &self.broker, files);
        Ok(Plan {
            server_name: self.server_name.clone(),
            client_id: self.client_id.clone(),
            // A connect run needs as many clients as it has connections at the same time.
            count: self.count.unwrap_or(if scenario == Scenario::Connect { self.concurrency } else { defaults.count }),
            version: if self.v311 { Version::V311 } else { Version::V5 },
            tls: self.tls,
            group: self.group,
            duration: self.duration,
            warm_up: self.warm_up,
            pid: self.pid,
            threads: self.threads,
            concurrency: self.concurrency,
            keep_alive_s: self.keep_alive,
            allow_remote: self.allow_remote,
            ..defaults
        })
    }
}

impl MessageArgs {
    fn plan(&self, scenario: Scenario) -> Result<Plan, BenchError> {
        Ok(Plan {
            topic: self.topic.clone(),
            filter: self.filter.clone(),
            publish_only: self.publish_only,
            qos: Qos::from_bits(self.qos).unwrap_or_default(),
            payload_bytes: self.size,
            rate_per_s: self.rate,
            window: self.window,
            drain: self.drain,
            loss_is_ok: self.allow_loss,
            ..self.common.plan(scenario)?
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|error| error.to_string())?;
        command.bench.plan().map_err(|error| error.to_string())
    }

    #[test]
    fn a_bundle_for_each_client() {
        let plan = plan("fanin --bundle b/dev-{n} --qos 1 --rate 10000 --size 100 --tls 1.2 --group p384").unwrap();
        assert_eq!(plan.files.cert.fill(7, 6), "b/dev-7/cert.pem");
        assert_eq!(
            (plan.count, plan.qos, plan.rate_per_s, plan.payload_bytes),
            (1000, Qos::AtLeastOnce, Some(10_000), 100)
        );
        assert_eq!((plan.tls, plan.group), (TlsVersion::Tls12, Some(Group::P384)));
    }

    #[test]
    fn files_of_somebody_elses_ca() {
        let plan = plan("connect --ca ca.crt --cert c/{n}.crt --key c/{n}.key --concurrency 7").unwrap();
        assert_eq!((plan.files.ca.fill(1, 1), plan.files.key.fill(1, 1)), ("ca.crt".into(), "c/1.key".into()));
        assert_eq!(plan.count, 7);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        for (line, hint) in [
            ("publish", "--bundle"),
            ("publish --bundle b --qos 3", "--qos"),
            ("publish --bundle b --duration 1h", "unit"),
            ("publish --bundle b --topic x/{y}", "{pair}"),
            ("publish --bundle b{y}", "{n}"),
            ("idle --bundle b --count 0", "from 1 to 100000"),
            ("idle --bundle b --rate 5", "--rate"),
        ] {
            let error = plan(line).unwrap_err();
            assert!(error.contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn help_shows_the_placeholders() {
        let help = |name: &str| {
            let mut command = Command::command();
            let subcommand = command.find_subcommand_mut(name).unwrap();
            // Where its lines are broken does not matter.
            [subcommand.render_help(), subcommand.render_long_help()]
                .map(|help| help.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
        };
        for text in help("idle") {
            for wanted in ["{n} in it is", "identifiers; {n} is", "'bundles/dev-{n}' --client-id 'dev-{n}'"] {
                assert!(text.contains(wanted), "{wanted}: {text}");
            }
        }
        for text in help("publish") {
            assert!(text.contains("Topics; {n} is the number of the publishing client, {pair} that"), "{text}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(
            (time("9"), time("9s"), time("2m")),
            (Ok(Duration::from_secs(9)), time("9"), Ok(Duration::from_secs(120)))
        );
        assert!(time("").is_err() && time("s").is_err() && time("1h").is_err());
    }
}
