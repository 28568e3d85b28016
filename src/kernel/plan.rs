//! TODO: plan.

/// Every program that can be built, in both forms.
#[cfg(test)]
pub(crate) fn every_program() -> Vec<crate::library::Program> {
    Vec::new()
}
