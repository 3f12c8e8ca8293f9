//! Ends a started process when this process ends, however that happens.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

/// A shell that waits until its standard input closes, which the kernel sees to, and then ends its ward and removes
/// the ward's directory. A test process keeps its hub in a static, and statics are not dropped.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    pub(crate) fn over(ward: u32, directory: &Path) -> Self {
        let script = r#"trap "" INT TERM HUP; read -r _; kill -9 "$1" 2>/dev/null; rm -rf -- "$2""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "guard", &ward.to_string()]).arg(directory);
        Self(shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a shell"))
    }

    /// The ward is ended by somebody else.
    pub(crate) fn dismiss(mut self) {
        // It may be gone already; either way it is not there any more.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
