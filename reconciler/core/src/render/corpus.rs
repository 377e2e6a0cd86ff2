//! Values that break careless quoting, for tests: the property tests here, and tests that deploy them to real hosts.

/// A value, and which destinations carry it byte for byte. The others refuse it with a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nasty {
    /// A word for it, fit for a variable's name.
    pub name: &'static str,
    /// The value.
    pub value: &'static str,
    /// Whether nginx can carry it: it cannot write `$`.
    pub nginx: bool,
    /// Whether an `EnvironmentFile` and `Environment=` of systemd can carry it: they drop most control characters.
    pub systemd_environment: bool,
}

const fn nasty(name: &'static str, value: &'static str) -> Nasty {
    Nasty { name, value, nginx: true, systemd_environment: true }
}

const fn no_nginx(name: &'static str, value: &'static str) -> Nasty {
    Nasty { name, value, nginx: false, systemd_environment: true }
}

const ALL: [Nasty; 36] = [
    nasty("plain", "plain"),
    nasty("empty", ""),
    nasty("blank", " "),
    nasty("blanks_around", "  a b  "),
    nasty("tab", "a\tb"),
    nasty("newline", "first\nsecond"),
    nasty("newline_end", "line\n"),
    nasty("newlines", "\n\n"),
    nasty("directive", "x;\n}\nserver { listen 1;"),
    nasty("exec", "x\nExecStartPre=/bin/false"),
    nasty("assignment", "x\nOTHER=1"),
    Nasty { name: "return", value: "a\r\nb", nginx: true, systemd_environment: false },
    Nasty { name: "bell", value: "a\u{7}b", nginx: true, systemd_environment: false },
    nasty("hash", "a #b# c"),
    nasty("hash_first", "#a"),
    nasty("semicolon_first", ";a"),
    nasty("percent", "100% %n %% %i"),
    nasty("double_quotes", "say \"hi\" \""),
    nasty("single_quotes", "it's 'so' '"),
    nasty("both_quotes", "\"'\"'"),
    nasty("backslash", "a\\b\\"),
    nasty("backslashes", "\\\\ \\\" \\n \\' \\x41 \\"),
    nasty("braces", "{ a } {{ b }} {% c %} }"),
    nasty("equals", "=a=b="),
    nasty("yaml", "- a: &b *c !d | > @ ` , [ ] ? %"),
    nasty("yes", "yes"),
    nasty("null", "~"),
    nasty("number", "0755"),
    nasty("sexagesimal", "22:22"),
    nasty("unicode", "äöü – 日本語 🦀 \u{202E}rtl"),
    nasty("line_separator", "a\u{2028}b\u{85}c\u{FEFF}d"),
    no_nginx("dollar", "$HOME ${HOME} $$ $"),
    no_nginx("dollar_end", "pa$$w0rd$"),
    no_nginx("dollar_quote", "$\"$'\\$"),
    no_nginx("interpolation", "${NOPE:-default} $(id) `id`"),
    no_nginx("everything", "$ # % \" ' \\ = ; { } \n ü \t end\\"),
];

/// Returns all values.
pub fn corpus() -> &'static [Nasty] {
    &ALL
}
