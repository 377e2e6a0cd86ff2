/// How something behaves, read from the text it was started from. A marker can stand anywhere in that text, such as in a comment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Behaviour {
    /// `simulate: unhealthy`: it never passes a check.
    pub unhealthy: bool,
    /// `simulate: dies`: it is healthy for three seconds, then not any more.
    pub dies: bool,
    /// `simulate: migration fails`.
    pub migration_fails: bool,
    /// `simulate: migration stops half way`: it fails, and the schema is another one all the same.
    pub stops_half_way: bool,
    /// `simulate: wrong release`: it says the name of another release.
    pub wrong_release: bool,
}

/// Milliseconds that something with `simulate: dies` is healthy.
pub(super) const LIFE_MS: u64 = 3_000;

impl Behaviour {
    /// Returns the behaviour that a text asks for.
    pub fn of(text: &str) -> Self {
        let says = |marker: &str| text.contains(marker);
        Self {
            unhealthy: says("simulate: unhealthy"),
            dies: says("simulate: dies"),
            migration_fails: says("simulate: migration fails"),
            stops_half_way: says("simulate: migration stops half way"),
            wrong_release: says("simulate: wrong release"),
        }
    }
}
