//! Events folded into the result of a sync.
