//! The conformance suite: argued cases for every variant, run on a device of the caller's, checked against the
//! CPU reference, its own checks checked by planted faults.
//!
//! A case is a query and its name is all there is to it:
//! `softmax/stream/f32/baseline/w64/x1:rows=5,cols=33,gap=3,fill=above-overflow`.

mod case;
mod check;
mod data;
pub mod expert_choice;
mod export;
mod guarded;
pub mod gumbel;
pub mod mutants;
pub mod permute;
pub mod plan;
pub mod probe;
mod programs;
mod report;
pub mod router;
mod run;
pub mod sample;
mod shrink;
pub mod stats;
mod suite;
pub(crate) mod tape;

pub use case::{Case, Fill, Memory, OptionSet, Profile, cases};
pub use check::{Difference, Element, Failure, Fault};
pub use export::{ExportError, Exported, FORMAT, export, export_with, save};
pub use programs::{Access, Linked, programs, representatives};
pub use report::{Adapter, Failed, Report, Tally, Worst, WrongElement};
pub use run::{Outcome, Trial, run_case, run_cases};
pub use suite::{Cases, Filter, KERNELS, Kernel, Pattern, case, devices, run, run_on, run_with, terms};
