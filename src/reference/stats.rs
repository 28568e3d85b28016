//! TODO: stats.
