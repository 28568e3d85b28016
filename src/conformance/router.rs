//! TODO: router.
