//! Desired, live and last applied to the complete, ordered, reviewable set of changes. The only place where desired and live meet.

mod model;

pub use model::*;
