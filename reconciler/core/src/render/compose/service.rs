//! What a service of a compose file says of itself that others have to know.

use crate::diag::Origin;

/// One service, with its places in the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ComposeService {
    /// The text of its digest label.
    pub(crate) digest: String,
    /// Its image.
    pub(crate) image: Stated<String>,
    /// How many containers it has.
    pub(crate) replicas: Stated<u32>,
    /// Bytes of memory that each container may take.
    pub(crate) memory: Option<u64>,
    /// Bytes of `/dev/shm`, where they are said.
    pub(crate) shm: Option<u64>,
    /// Its command, word by word, without what has a secret in it.
    pub(crate) command: Vec<Stated<String>>,
    /// Thousandths of a processor that each container may take.
    pub(crate) processors: Option<u32>,
    /// Ports of the host that it takes.
    pub(crate) published: Vec<Stated<Published>>,
    /// Its environment, without what has a secret in it.
    pub(crate) environment: Vec<Stated<(String, String)>>,
    /// Where what it prints goes; at the service itself where nothing is said of it.
    pub(crate) logging: Stated<Logging>,
}

/// A service's `logging`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Logging {
    /// Its driver, where one is named.
    pub(crate) driver: Option<String>,
    /// Its options, without what has a secret in it.
    pub(crate) options: Vec<Stated<(String, String)>>,
}

/// A value and where the template says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stated<T> {
    pub(crate) value: T,
    pub(crate) at: Origin,
}

/// A port that a container has on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    /// As it is written.
    pub(crate) text: String,
    /// Address of the host; without one all of them.
    pub(crate) address: Option<String>,
    /// First and last port of the host; `None` for any that is free.
    pub(crate) ports: Option<(u16, u16)>,
    /// Whether it is TCP.
    pub(crate) tcp: bool,
}

impl Published {
    /// Reads `[[ADDRESS:]PORT[-PORT]:]CONTAINER[/PROTOCOL]`; `None` for anything else.
    ///
    /// # Source
    /// The short syntax of `ports` in the Compose specification as of June 2026.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (body, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        // An IPv6 address stands in brackets.
        let (address, rest) = match body.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
            Some((address, rest)) => (Some(address), rest),
            None => (None, body),
        };
        let parts: Vec<&str> = rest.split(':').collect();
        let (address, host) = match (address, parts.as_slice()) {
            (None, [_]) => (None, ""),
            (None | Some(_), [host, _]) => (address, *host),
            (None, [address, host, _]) => (Some(*address), *host),
            _ => return None,
        };
        let ports = if host.is_empty() { None } else { Some(range(host)?) };
        Some(Self { text: text.to_owned(), address: address.map(str::to_owned), ports, tcp: protocol == "tcp" })
    }
}

/// Reads one port or a range of them.
pub(super) fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Reads a size such as `512M`, `1.5g` or `1073741824`, in bytes.
///
/// # Source
/// `RAMInBytes` of Docker's go-units: steps of 1024 whatever the case, with or without `b` and `i`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let power = match text[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    Some((number * 1024_f64.powi(power)) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_every_form() {
        for (text, address, ports, tcp) in [
            ("8000", None, None, true),
            ("8101:8000", None, Some((8101, 8101)), true),
            ("127.0.0.1:8101:8000", Some("127.0.0.1"), Some((8101, 8101)), true),
            ("127.0.0.1::8000", Some("127.0.0.1"), None, true),
            ("[::1]:8101:8000", Some("::1"), Some((8101, 8101)), true),
            ("8101-8103:8000-8002/udp", None, Some((8101, 8103)), false),
        ] {
            let wanted = Published { text: text.to_owned(), address: address.map(str::to_owned), ports, tcp };
            assert_eq!(Published::parse(text), Some(wanted), "{text}");
        }
        for text in ["a:b", "1:2:3:4", "127.0.0.1:x:80", "70000:80"] {
            assert_eq!(Published::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        for (text, wanted) in [
            ("512M", Some(512 << 20)),
            ("1.5g", Some(3 << 29)),
            ("64mb", Some(64 << 20)),
            ("2GiB", Some(2 << 30)),
            ("1073741824", Some(1 << 30)),
            ("10k", Some(10 << 10)),
            ("much", None),
            ("5 apples", None),
            ("", None),
        ] {
            assert_eq!(bytes(text), wanted, "{text}");
        }
    }
}
