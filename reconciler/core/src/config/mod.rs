//! One commit's tree to a validated model, all errors at once, each with its place.

mod model;
mod tree;

pub use model::*;
pub use tree::{SourceTree, TreeProblem};
