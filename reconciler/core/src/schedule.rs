//! Which sync runs next.
