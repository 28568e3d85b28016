//! Standard output and standard error.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes to standard output, all of it or an error.
pub fn say(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::PipeClosed),
        Err(e) => Err(Failure::Error(format!("cannot write to standard output: {e}"))),
    }
}

/// Writes a value as JSON to standard output.
pub fn say_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    say(&text)
}

/// Columns and lines of the terminal that standard output goes to; 80 and 24 where there is none.
pub fn size() -> (usize, usize) {
    let usual = (80, 24);
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 0
        && size.ws_row > 0
    {
        return (size.ws_col.into(), size.ws_row.into());
    }
    usual
}

/// Writes a line to standard error. Nobody can be told when that fails.
pub fn remark(line: &str) {
    let _ = writeln!(io::stderr().lock(), "onesum: {line}");
}

/// Does something while standard error is shut: drivers print about themselves when they are looked at (Mesa: "not a
/// conformant vulkan implementation", a missing `XDG_RUNTIME_DIR`), which is not what the user asked for.
/// `ONESUM_DRIVER_MESSAGES` in the environment lets them.
pub fn quietly<T>(action: impl FnOnce() -> T) -> T {
    let _shut = if std::env::var_os("ONESUM_DRIVER_MESSAGES").is_some() { None } else { Shut::new() };
    action()
}

/// While it lives, standard error goes nowhere.
#[cfg(unix)]
struct Shut(std::os::fd::OwnedFd);

#[cfg(unix)]
impl Shut {
    fn new() -> Option<Self> {
        let nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").ok()?;
        let before = rustix::io::dup(io::stderr()).ok()?;
        rustix::stdio::dup2_stderr(&nowhere).ok()?;
        Some(Self(before))
    }
}

#[cfg(unix)]
impl Drop for Shut {
    fn drop(&mut self) {
        // If this fails there is no way left to say so.
        let _ = rustix::stdio::dup2_stderr(&self.0);
    }
}

#[cfg(not(unix))]
struct Shut;

#[cfg(not(unix))]
impl Shut {
    fn new() -> Option<Self> {
        None
    }
}
