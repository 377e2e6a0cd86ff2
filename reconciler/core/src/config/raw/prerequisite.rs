//! What has to be on a host before a component, and the host's firewall.

use super::leaf::{Account, Mode};
use crate::config::decode::{Context, Decode, Must, parsed, record};
use crate::config::place::At;
use crate::config::yaml::{Kind, Node};

record!(
    /// A local account. It is made where it is missing, and never removed.
    AccountEntry, "an account", {
    /// Its primary group; one of the account's own name is made with it. Default: the account's name.
    group: Option<At<Account>>,
    /// Groups it must also be in. Others that it is in are left alone.
    groups: Option<Vec<At<Account>>>,
    /// Its home. The folder is not made: declare it under `folders`. Default: `/nonexistent`.
    home: Option<FolderPath>,
    /// Its shell. Default: `/usr/sbin/nologin`.
    shell: Option<FolderPath>,
    /// Whether its number is one of the system's own; counts when it is made. Default: `true`.
    system: Option<bool>,
});

record!(
    /// A folder. It is made where it is missing, and never removed.
    FolderEntry, "a folder", {
    /// Owner: a name or a number. Default: `root`.
    owner: Option<Account>,
    /// Group: a name or a number. Default: `root`.
    group: Option<Account>,
    /// Permission bits. Default: `"0755"`.
    mode: Option<Mode>,
});

record!(
    /// What other machines may reach on a host, with all that Docker publishes counted. What is not allowed is closed.
    Firewall, "`firewall`", {
    /// Ports that are open: `22/tcp` for everybody, or `{ ports: [5432/tcp], from: [10.0.0.0/8, hosts] }`.
    allow: Must<Vec<At<Allow>>>,
    /// Interfaces of the host's own containers, which may reach the host; `*` at the end stands for anything. Default: `[docker0, "br-*"]`.
    inside: Option<Vec<Interface>>,
});

/// What is allowed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Allow {
    /// To everybody.
    All(PortRange),
    /// To some.
    Some(AllowFrom),
}

record!(
    /// Ports that are open to some.
    AllowFrom, "what is allowed to some", {
    /// Ports such as `5432/tcp` or `60000-61000/udp`.
    ports: Vec<PortRange>,
    /// Networks such as `10.0.0.0/8`, addresses, or `hosts` for all of the environment.
    from: Vec<At<Source>>,
});

impl Decode for Allow {
    fn decode(node: &Node, cx: &mut Context<'_, '_>) -> Option<Self> {
        match &node.kind {
            Kind::Map(_) => AllowFrom::decode(node, cx).map(Self::Some),
            _ => PortRange::decode(node, cx).map(Self::All),
        }
    }
}

impl schemars::JsonSchema for Allow {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Allow".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (all, some) = (generator.subschema_for::<PortRange>(), generator.subschema_for::<AllowFrom>());
        schemars::json_schema!({ "anyOf": [all, some] })
    }
}

/// Ports of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortRange {
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) udp: bool,
}

parsed!(PortRange, "ports such as 443/tcp or 60000-61000/udp", "^[0-9]{1,5}(-[0-9]{1,5})?/(tcp|udp)$", |text| {
    let shown: String = text.chars().take(40).collect();
    let fail = || {
        format!("`{}` is no port with its protocol: write such as `443/tcp` or `60000-61000/udp`", shown.escape_debug())
    };
    let (ports, protocol) = text.split_once('/').ok_or_else(fail)?;
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u16>().ok().filter(|port| plain && *port > 0).ok_or_else(fail)
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(ports)?, number(ports)?),
    };
    let udp = match protocol {
        "tcp" => false,
        "udp" => true,
        _ => return Err(fail()),
    };
    if first > last { Err(fail()) } else { Ok(Self { first, last, udp }) }
});

/// Where something may come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// All hosts of the environment.
    Hosts,
    /// A network, as `address/bits`.
    Network(core::net::IpAddr, u8),
}

parsed!(Source, "a network such as 10.0.0.0/8, or `hosts`", "^(hosts|[0-9A-Fa-f.:]+(/[0-9]{1,3})?)$", |text| {
    if text == "hosts" {
        return Ok(Self::Hosts);
    }
    let shown: String = text.chars().take(60).collect();
    let fail =
        || format!("`{}` is no network: write such as `10.0.0.0/8`, an address, or `hosts`", shown.escape_debug());
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: core::net::IpAddr = address.parse().map_err(|_| fail())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().map_err(|_| fail())?,
        Some(_) => return Err(fail()),
        None => most,
    };
    // A network with bits set behind its length is most likely a mistyped one.
    let number: u128 = match address {
        core::net::IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
        core::net::IpAddr::V6(address) => address.into(),
    };
    if bits > most || number.checked_shl(u32::from(bits)).is_some_and(|rest| rest != 0) {
        return Err(fail());
    }
    Ok(Self::Network(address, bits))
});

/// An absolute path of a folder or program on a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FolderPath(pub(crate) String);

parsed!(FolderPath, "an absolute path", "^/", |text| {
    let fits = |c: char| c.is_ascii_alphanumeric() || "/._@+,=-".contains(c);
    let plain = text.strip_prefix('/').is_some_and(|below| {
        text.len() <= 400 && text.chars().all(fits) && below.split('/').all(|part| !matches!(part, "" | "." | ".."))
    });
    let shown: String = text.chars().take(60).collect();
    if plain {
        Ok(Self(text.to_owned()))
    } else {
        Err(format!(
            "`{}` is no absolute path of letters, digits and `._@+,=-`, without `.`, `..`, `//` and a `/` at the end",
            shown.escape_debug()
        ))
    }
});

/// A package of the distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Package(pub(crate) String);

parsed!(Package, "a package", "^[a-z0-9][a-z0-9+.-]+$", |text| {
    // Debian policy §5.6.1.
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+.-".contains(&b);
    if text.len() >= 2 && text.len() <= 100 && text.bytes().all(fits) && !text.starts_with(['+', '.', '-']) {
        return Ok(Self(text.to_owned()));
    }
    let shown: String = text.chars().take(60).collect();
    Err(format!("`{}` is no name of a package: lower-case letters, digits and `+.-`", shown.escape_debug()))
});

/// A network interface, with `*` at its end for anything.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interface(pub(crate) String);

parsed!(Interface, "an interface", "^[A-Za-z0-9_.-]{1,15}\\*?$", |text| {
    let name = text.strip_suffix('*').unwrap_or(text);
    if !name.is_empty() && name.len() <= 15 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
        return Ok(Self(text.to_owned()));
    }
    let shown: String = text.chars().take(40).collect();
    Err(format!("`{}` is no name of an interface, such as `docker0` or `br-*`", shown.escape_debug()))
});
