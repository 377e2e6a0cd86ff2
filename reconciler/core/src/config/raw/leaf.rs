//! Types of single values.

use core::net::SocketAddr;
use std::str::FromStr;

use crate::config::decode::{Context, Decode, PlainValue, parsed, words};
use crate::config::model::{DriftPolicy, FileFormat, OnChange, ProveExpect, Purpose, Strategy, SyncMode};
use crate::config::yaml::{Kind, Node};
use crate::id::{AppName, ComponentName, EnvironmentName, HostName};
use crate::time::Millis;

fn name<T: FromStr<Err = crate::id::InvalidName>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: crate::id::InvalidName| error.to_string())
}

parsed!(EnvironmentName, "an environment name", "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name);
parsed!(HostName, "a host name", "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name);
parsed!(AppName, "an app name", "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name);
parsed!(ComponentName, "a component name", "^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", name);
parsed!(Millis, "a duration such as 250ms, 10s, 5m, 1h or 2d", "^[0-9]+(ms|s|m|h|d)$", |text| {
    text.parse().map_err(|error: crate::time::InvalidDuration| error.to_string())
});

words!(Purpose, "purpose", {
    "production" => Purpose::Production,
    "staging" => Purpose::Staging,
    "development" => Purpose::Development,
});
words!(SyncMode, "sync mode", { "manual" => SyncMode::Manual, "automatic" => SyncMode::Automatic, });
words!(DriftPolicy, "drift policy", {
    "off" => DriftPolicy::Off,
    "report" => DriftPolicy::Report,
    "heal" => DriftPolicy::Heal,
});
words!(Strategy, "strategy", {
    "blue_green" => Strategy::BlueGreen,
    "rolling" => Strategy::Rolling,
    "workers" => Strategy::Workers,
    "singleton" => Strategy::Singleton,
    "stateful" => Strategy::Stateful,
    "in_place" => Strategy::InPlace,
});
words!(FileFormat, "file format", {
    "plain" => FileFormat::Plain,
    "compose_env" => FileFormat::ComposeEnv,
    "systemd_env" => FileFormat::SystemdEnv,
    "nginx" => FileFormat::Nginx,
    "systemd" => FileFormat::Systemd,
    "compose" => FileFormat::Compose,
});
words!(OnChange, "way to take a change", { "restart" => OnChange::Restart, "reload" => OnChange::Reload, });
words!(ProveExpect, "expected answer", { "release" => ProveExpect::Release, "slot" => ProveExpect::Slot, });

/// Text with a rule for its characters.
macro_rules! text_type {
    ($(#[$meta:meta])* $name:ident, $what:literal, $pattern:literal, $most:literal, $allowed:expr, $rule:literal) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct $name(pub(crate) String);

        parsed!($name, $what, $pattern, |text| {
            let allowed: fn(&str) -> bool = $allowed;
            if text.len() <= $most && allowed(text) {
                return Ok(Self(text.to_owned()));
            }
            let shown: String = text.chars().take(60).collect();
            Err(format!("`{}` is not {}: {}", shown.escape_debug(), $what, $rule))
        });
    };
}

fn begins_with(text: &str, first: fn(char) -> bool) -> bool {
    text.starts_with(first)
}

fn all(text: &str, more: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

text_type!(
    /// A name that templates use: of a variable, a port, an upstream.
    Identifier, "a name for templates", "^[A-Za-z_][A-Za-z0-9_]{0,63}$", 64,
    |text| begins_with(text, |c| c.is_ascii_alphabetic() || c == '_') && all(text, "_"),
    "letters, digits and `_`, beginning with a letter or `_`, 64 at the most"
);
text_type!(
    /// The key of a label.
    LabelKey, "a label", "^[A-Za-z][A-Za-z0-9_./-]{0,62}$", 63,
    |text| begins_with(text, |c| c.is_ascii_alphabetic()) && all(text, "_./-"),
    "letters, digits, `_`, `.`, `/` and `-`, beginning with a letter, 63 at the most"
);
text_type!(
    /// A release: a tag, a version or a digest.
    Release, "a release", "^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$", 128,
    |text| begins_with(text, |c| c.is_ascii_alphanumeric()) && all(text, "._+-"),
    "letters, digits, `.`, `_`, `+` and `-`, beginning with a letter or digit, 128 at the most"
);
text_type!(
    /// A name or address for `ssh`. No `-` in front: it can never become an option.
    HostAddress, "an address", "^[A-Za-z0-9:][A-Za-z0-9._:-]{0,252}$", 253,
    |text| begins_with(text, |c| c.is_ascii_alphanumeric() || c == ':') && all(text, "._:-"),
    "a name or an IP address without user and port; `local` for this machine"
);
text_type!(
    /// A login, an owner or a group.
    Account, "an account", "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$", 32,
    |text| begins_with(text, |c| c.is_ascii_alphanumeric() || c == '_') && all(text, "_.-"),
    "letters, digits, `_`, `.` and `-`, not beginning with `-` or `.`, 32 at the most"
);
text_type!(
    /// A template below `templates/`.
    TemplatePath, "a template path", "^[A-Za-z0-9_@.-]+(/[A-Za-z0-9_@.-]+)*\\.j2$", 512,
    |text| all(text, "_@.-/") && text.strip_suffix(".j2").is_some() && text.split('/').all(|part| !matches!(part, "" | "." | "..")),
    "a path below `templates/` that ends in `.j2`, without `.` and `..`"
);
text_type!(
    /// A path below the manager's folder of archives.
    ArchivePath, "a path of an archive", "^[A-Za-z0-9_@+.-]+(/[A-Za-z0-9_@+.-]+)*$", 512,
    |text| all(text, "_@+.-/") && text.split('/').all(|part| !matches!(part, "" | "." | "..")),
    "a path below the manager's folder `archives`, without `.` and `..`"
);
text_type!(
    /// A SHA-256.
    Sha256, "a SHA-256", "^[0-9a-f]{64}$", 64,
    |text| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)),
    "64 digits in lower case, as `sha256sum` prints them"
);
text_type!(
    /// A folder below `templates/`.
    SqlFolder, "a folder", "^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", 512,
    |text| all(text, "_.-/") && text.split('/').all(|part| !matches!(part, "" | "." | "..")),
    "a folder below `templates/`, without `.` and `..`"
);
text_type!(
    /// A path on a host. `{{ slot }}` and `{{ dir }}` may stand in it.
    Destination, "a path on a host", "^(/|\\{\\{ dir \\}\\}/)", 1024,
    |text| {
        let plain = text.replace("{{ slot }}", "slot");
        let plain = plain.strip_prefix("{{ dir }}").unwrap_or(&plain);
        plain.strip_prefix('/').is_some_and(|below| {
            all(below, "_.@+:,=~-/") && below.split('/').all(|part| !matches!(part, "" | "." | ".."))
        })
    },
    "an absolute path, or one below `{{ dir }}`, of letters, digits and `_.@+:,=~-`, without `.`, `..` and `//`; `{{ slot }}` may stand in it"
);
text_type!(
    /// A path and query of an HTTP request.
    HttpPath, "a path of a URL", "^/[!-~]*$", 1024,
    |text| text.starts_with('/') && text.bytes().all(|b| b.is_ascii_graphic()),
    "it begins with `/` and has no spaces"
);
text_type!(
    /// A `Host` header.
    HostHeader, "a host header", "^[A-Za-z0-9._:-]+$", 253,
    |text| !text.is_empty() && all(text, "._:-"),
    "a domain, with a port where needed"
);
text_type!(
    /// The name of an HTTP header.
    HeaderName, "a header name", "^[A-Za-z0-9_-]+$", 64,
    |text| !text.is_empty() && all(text, "_-"),
    "letters, digits, `_` and `-`"
);
text_type!(
    /// The dotted path of a field in a JSON answer.
    FieldPath, "a JSON field", "^[A-Za-z0-9_-]+(\\.[A-Za-z0-9_-]+)*$", 256,
    |text| all(text, "_.-") && text.split('.').all(|part| !part.is_empty()),
    "keys joined by dots, such as `status` or `checks.database`"
);
text_type!(
    /// The name of a metric, as Prometheus takes it.
    MetricName, "a metric", "^[A-Za-z_:][A-Za-z0-9_:]*$", 256,
    |text| begins_with(text, |c| c.is_ascii_alphabetic() || c == '_' || c == ':') && all(text, "_:"),
    "letters, digits, `_` and `:`, such as `http_requests_total`"
);
text_type!(
    /// The name of a compose service; empty text is not one.
    ServiceName, "a compose service", "^[A-Za-z0-9][A-Za-z0-9._-]*$", 128,
    |text| begins_with(text, |c| c.is_ascii_alphanumeric()) && all(text, "._-"),
    "letters, digits, `.`, `_` and `-`"
);
text_type!(
    /// One argument of a command. It reaches the program as it is: there is no shell.
    Argument, "an argument", "^[^\\u0000]*$", 8192,
    |text| !text.contains('\0'),
    "any text without NUL, 8192 bytes at the most"
);
text_type!(
    /// An absolute path on the management box.
    LocalPath, "an absolute path", "^/", 1024,
    |text| text.starts_with('/') && !text.contains(char::is_control) && text.split('/').all(|part| part != ".."),
    "it begins with `/` and has no `..`"
);
text_type!(
    /// An e-mail address (RFC 5321 §4.1.2, of ASCII and without quotes).
    EmailAddress, "an e-mail address", "^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$", 254,
    |text| {
        text.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && all(local, ".!#$%&'*+/=?^_`{|}~-") && !domain.is_empty() && all(domain, ".-")
        })
    },
    "a name, `@` and a domain"
);
text_type!(
    /// A URL of HTTP that holds no user and no password.
    PlainUrl, "an http or https URL", "^https?://[^@\\s]+$", 1024,
    |text| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('@') && rest.bytes().all(|b| b.is_ascii_graphic()))
    },
    "it begins with `https://` or `http://` and has no user, password or spaces: a secret belongs into a file"
);
text_type!(
    /// The name of a place for notices.
    SinkName, "a name", "^[a-z][a-z0-9-]{0,38}[a-z0-9]?$", 40,
    |text| begins_with(text, |c| c.is_ascii_lowercase()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
    "lower-case letters, digits and `-`, beginning with a letter, 40 at the most"
);
text_type!(
    /// A user at a mail server: what stands before the first `:` of curl's `--user`.
    MailUser, "a user at a mail server", "^[^:\\s]+$", 254,
    |text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b':'),
    "printable ASCII without `:` and spaces"
);
text_type!(
    /// A branch or tag pattern.
    RefPattern, "a branch or tag", "^[A-Za-z0-9_*][A-Za-z0-9_./*?+-]{0,199}$", 200,
    |text| {
        begins_with(text, |c| c.is_ascii_alphanumeric() || "_*".contains(c))
            && all(text, "_./*?+-")
            && !text.contains("..")
            && !text.contains("//")
            && !text.ends_with(['/', '.'])
            && text.strip_suffix(".lock").is_none()
    },
    "the short name, such as `main` or `v*`, of letters, digits and `_./+-`, with `*` and `?` in a pattern"
);

/// An IP address or a network in CIDR notation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Network(pub(crate) String);

parsed!(Network, "an address or a network such as 10.0.0.0/8", "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$", |text| {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let shown: String = text.chars().take(60).collect();
    let fail = || format!("`{}` is no address and no network: write such as `10.0.0.0/8`", shown.escape_debug());
    let address: core::net::IpAddr = address.parse().map_err(|_| fail())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => bits.parse::<u8>().ok().filter(|bits| *bits <= most).ok_or_else(fail)?,
    };
    // nginx masks what stands behind the network's bits with a warning; somebody who wrote it meant something else.
    let whole = match address {
        core::net::IpAddr::V4(address) => u32::from(address).checked_shl(u32::from(bits)).unwrap_or(0) == 0,
        core::net::IpAddr::V6(address) => u128::from(address).checked_shl(u32::from(bits)).unwrap_or(0) == 0,
    };
    if whole { Ok(Self(text.to_owned())) } else { Err(format!("`{shown}` has bits set behind those of its network")) }
});

/// A host's public key as `known_hosts` and `ssh-keyscan` write it, without the host: `ssh-ed25519 AAAA…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostKey(pub(crate) String);

/// An address of this machine alone, and a port: `127.0.0.1:9464`, `"[::1]:9464"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LoopbackAddress(pub(crate) SocketAddr);

parsed!(LoopbackAddress, "an address and a port", "^(127\\.[0-9]+\\.[0-9]+\\.[0-9]+|\\[::1\\]):[0-9]{1,5}$", |text| {
    let shown: String = text.chars().take(60).collect();
    let shown = shown.escape_debug();
    match text.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() => Err(format!(
            "`{shown}` is open to other machines, and nothing asks them for a password: write an address such as `127.0.0.1:9464`, and \
             put a proxy before it where others are to read it"
        )),
        Ok(address) if address.port() == 0 => Err(format!("`{shown}` has no port: write such as `127.0.0.1:9464`")),
        Ok(address) => Ok(Self(address)),
        Err(_) => Err(format!("`{shown}` is no address with a port: write such as `127.0.0.1:9464`")),
    }
});

/// Key types that OpenSSH 9 still accepts for hosts.
const KEY_TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

parsed!(HostKey, "a host key", "^(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,3}$", |text| {
    use base64::Engine as _;
    let mut words = text.split(' ');
    let (Some(kind), Some(body), None) = (words.next(), words.next(), words.next()) else {
        return Err(
            "a host key has two words, such as `ssh-ed25519 AAAA…`: leave out the host and the comment".to_owned()
        );
    };
    if !KEY_TYPES.contains(&kind) {
        let shown: String = kind.chars().take(40).collect();
        return Err(format!("`{}` is no type of host key; known are {}", shown.escape_debug(), KEY_TYPES.join(", ")));
    }
    // RFC 4253 §6.6: the key begins with its own type as a string, four bytes of length first.
    let bytes = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
    let named = bytes.get(4..4 + kind.len()) == Some(kind.as_bytes());
    if !named || bytes.get(..4) != Some(&(kind.len() as u32).to_be_bytes()) || bytes.len() < 4 + kind.len() + 32 {
        return Err(format!("this is no whole `{kind}` key: copy the line of `ssh-keyscan -t` without the host"));
    }
    Ok(Self(text.to_owned()))
});

/// Permission bits, as four octal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Decode for Mode {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        let wanted = "permission bits such as \"0644\"";
        let Kind::Scalar { text, .. } = &node.kind else {
            return cx.wrong_type(node, wanted, "");
        };
        let octal = text.len() == 4 && text.starts_with('0') && text.bytes().all(|b| matches!(b, b'0'..=b'7'));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal => Some(Self(mode)),
            _ => cx.bad_value(
                node,
                format!("`{}` is not permission bits", text.chars().take(40).collect::<String>().escape_debug()),
                "write four octal digits from \"0000\" to \"0777\"",
            ),
        }
    }
}

impl schemars::JsonSchema for Mode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Mode".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // Unquoted 0644 is a number for an editor and exact text for the decoder: both are taken.
        schemars::json_schema!({ "type": ["string", "integer"], "pattern": "^0[0-7]{3}$" })
    }
}

/// A share in percent, kept in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ratio {
    /// Thousandths.
    pub(crate) permille: u32,
}

parsed!(Ratio, "a share such as 1%", "^[0-9]{1,3}(\\.[0-9])?%$", |text| {
    let fail = || {
        format!("`{}` is no share: write percent, such as `1%` or `0.5%`", text.chars().take(40).collect::<String>())
    };
    let number = text.strip_suffix('%').ok_or_else(fail)?;
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |part: &str, most: usize| !part.is_empty() && part.len() <= most && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 3) || !digits(tenth, 1) {
        return Err(fail());
    }
    let permille = whole.parse::<u32>().map_err(|_| fail())? * 10 + tenth.parse::<u32>().map_err(|_| fail())?;
    if permille > 1000 { Err(fail()) } else { Ok(Self { permille }) }
});

/// A scalar taken as the text that is written: `true`, `8080` and `ready` alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scalar(pub(crate) String);

impl Decode for Scalar {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, plain } if PlainValue::of(text, *plain) != PlainValue::Null => {
                Some(Self(text.clone()))
            }
            _ => cx.wrong_type(node, "a single value", ""),
        }
    }
}

impl schemars::JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "number", "boolean"] })
    }
}
