//! How far from the reference a result may be, and why: `docs/accuracy.md` derives it step by step.

mod budget;
mod router;
mod ulp;

pub use budget::{Budget, RowBudget, Verdict};
pub use router::route_budgets;
pub use ulp::{bf16_ulp, f16_ulp, f32_ulp, ulp_distance};
