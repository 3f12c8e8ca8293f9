//! The floor relay as a program: `floor BUNDLE [ADDRESS] [pairs|fanout|fanin]`.

use std::{path::PathBuf, process::ExitCode, sync::atomic::AtomicBool};

use clap::Parser;
use portreeve_bench::floor::{Floor, Shape};

/// Terminates mutual TLS and copies packets to fixed receivers: the least that a broker could cost.
#[derive(Parser)]
struct Args {
    /// Directory with ca.pem, cert.pem and key.pem of the relay
    bundle: PathBuf,
    /// A loopback address
    #[arg(long, default_value = "127.0.0.1:18899")]
    listen: std::net::SocketAddr,
    /// Who receives whose messages
    #[arg(long, value_enum, default_value = "pairs")]
    shape: Shape,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = Floor::bind(args.listen, &args.bundle, args.shape).and_then(|floor| {
        floor.run(&AtomicBool::new(false)).map_err(|error| portreeve_bench::BenchError::Usage(error.to_string()))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do about a closed standard error.
            drop(std::io::Write::write_all(&mut std::io::stderr(), format!("floor: {error}\n").as_bytes()));
            ExitCode::from(error.exit_status())
        }
    }
}
