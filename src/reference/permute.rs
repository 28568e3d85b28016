//! TODO: permute.
