//! `onesum`: softmax, sampling and `MoE` routing on whatever GPU there is, checked against a CPU reference.
//!
//! Exit codes: 0 all is well; 1 an error (a file, the adapter, the device); 2 the command line makes no sense; 3 a
//! result is further from the CPU reference than its error budget allows, a conformance case failed, or a benchmark found a
//! regression; 130 interrupted.
//! Every failure is one line on standard error that begins with `onesum: `.

mod bench;
mod broadcast;
mod check;
mod conform;
mod demo;
mod device;
mod draws;
mod elements;
mod failure;
mod hint;
mod histogram;
mod info;
mod job;
mod plot;
mod routing;
mod run;
mod tensor;
mod terminal;
mod tune;
mod wgsl;

use std::panic;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::{Parser, Subcommand};

use failure::{Failure, one_line};

#[derive(Parser)]
#[command(name = "onesum", version, after_help = AFTER_HELP, max_term_width = 110)]
#[command(about = "Softmax, sampling and MoE routing on whatever GPU there is, checked against a CPU reference")]
#[command(subcommand_required = true, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  onesum info                                        which adapters there are, what they can run
  onesum run softmax --input x.npy --output y.npy    softmax over the last axis of an array
  onesum run sample --input x.npy --output y.npy     a column of each row, drawn by its softmax
  onesum run route --input x.npy --preset qwen3 --weights w.npy --experts e.npy
                                                     the experts of each token, and how they are loaded
  onesum bench --quick                               how fast, beside a copy and rivals
  onesum tune -o tuning.toml                         the fastest variants here, for --tuning FILE
  onesum conform --html report.html                  does this adapter get every kernel right?
  onesum wgsl --list | head                          the names of the shaders

Which adapter: --adapter NAME_OR_INDEX, or the variables WGPU_ADAPTER_NAME, WGPU_BACKEND
(vulkan, gl, metal, dx12) and WGPU_POWER_PREF (low, high). With ONESUM_DRIVER_MESSAGES=1
drivers may print what they like.

Exit codes:
  0    all is well
  1    an error: a file, the adapter, the device
  2    the command line makes no sense
  3    a result is further from the CPU reference than its error budget allows, a conformance case failed, or
       `bench compare` found a regression
  130  interrupted";

#[derive(Subcommand)]
enum Command {
    /// Show adapters, what they offer, and which variants they can run
    Info(info::Args),
    /// Run a kernel on tensors in files
    Run(run::Args),
    /// Measure speed against a copy kernel and rival algorithms
    Bench(bench::Args),
    /// Find the fastest variants of this adapter, for `--tuning` and the library
    Tune(tune::Args),
    /// Run the conformance suite: for people who write WGSL compilers, drivers and engines
    Conform(conform::Args),
    /// Print the WGSL of a variant, as the driver gets it
    Wgsl(wgsl::Args),
    /// Turn a language model's real logits into its likeliest next tokens
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let failure = match parse() {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(cli)) => match guarded(|| dispatch(&cli.command)) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    if let Some(line) = failure.line() {
        terminal::remark(&line);
    }
    ExitCode::from(failure.code())
}

fn dispatch(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Info(args) => info::run(args),
        Command::Run(args) => run::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Tune(args) => tune::run(args),
        Command::Conform(args) => conform::run(args),
        Command::Wgsl(args) => wgsl::run(args),
        Command::Demo(args) => demo::run(args),
    }
}

/// The command line; nothing when help or version was asked for and shown.
fn parse() -> Result<Option<Cli>, Failure> {
    match Cli::try_parse() {
        Ok(cli) => Ok(Some(cli)),
        Err(e) if e.use_stderr() => Err(Failure::Usage(usage(&e))),
        Err(e) => terminal::say(&e.render().to_string()).map(|()| None),
    }
}

/// clap's message without its paragraphs.
fn usage(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let said: Vec<_> = text
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
        .collect();
    one_line(format!("{} (--help explains)", one_line(said.join(" "))))
}

/// Runs a command. A panic, which is a fault of this program, or of wgpu when a driver fails in a way it did not
/// expect, becomes one line too.
fn guarded(command: impl FnOnce() -> Result<(), Failure> + panic::UnwindSafe) -> Result<(), Failure> {
    static SAID: Mutex<Option<String>> = Mutex::new(None);
    panic::set_hook(Box::new(|panic| {
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        // The first panic is the cause of the others.
        said.get_or_insert_with(|| panic.to_string());
    }));
    panic::catch_unwind(command).unwrap_or_else(|_| {
        let said = SAID.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(Failure::Error(format!("internal error: {}", said.unwrap_or_default())))
    })
}

#[cfg(test)]
mod cli_tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }
}
