use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, setrlimit},
};

/// Keeps this process's memory out of core files, and from debuggers and other processes of the same user.
///
/// To be called before the first key is opened; new programs that the process starts are not affected by the former,
/// and inherit the core size of zero.
///
/// # Errors
/// What the kernel says.
pub fn forbid_core_dumps() -> std::io::Result<()> {
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, nothing)?;
    // A handler in `core_pattern` gets dumps whatever the limit; this flag stops those too.
    match rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        Ok(()) => Ok(()),
        Err(error) => Err(Errno::into(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_out_of_core_files() {
        assert_ne!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        forbid_core_dumps().unwrap();
        assert_eq!(rustix::process::dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        let limit = rustix::process::getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
    }
}
