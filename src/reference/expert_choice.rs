//! TODO: expert_choice.
