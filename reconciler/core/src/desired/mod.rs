//! What every host of one environment should be at one commit. Equal input gives an equal digest.

mod model;

pub use model::*;
