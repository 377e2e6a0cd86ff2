//! Reads a map of the kernel's packet filter without running `nft`.

use std::collections::BTreeMap;
use std::io;

use rustix::net::netlink;

use crate::netlink::{attributes, dump, put_attribute};

/// Returns the elements of a map from port to port in the IPv4 family. An error of the kind `NotFound` says that there is no such
/// table or map.
///
/// # Errors
/// The kernel's own, also when it has no packet filter of this kind.
///
/// # Source
/// Linux `include/uapi/linux/netfilter/{nfnetlink,nf_tables}.h`; ports are in the network's order.
pub fn port_map(table: &str, map: &str) -> io::Result<BTreeMap<u16, u16>> {
    const SUBSYSTEM: u16 = 10;
    const GET_ELEMENTS: u16 = 13;
    const IPV4: u8 = 2;
    let mut body = vec![IPV4, 0, 0, 0];
    put_attribute(&mut body, 1, &[table.as_bytes(), &[0]].concat());
    put_attribute(&mut body, 2, &[map.as_bytes(), &[0]].concat());
    let mut elements = BTreeMap::new();
    for answer in dump(netlink::NETFILTER, SUBSYSTEM << 8 | GET_ELEMENTS, &body)? {
        elements.extend(parse(&answer).ok_or_else(|| io::Error::other("the kernel's map is not from port to port"))?);
    }
    Ok(elements)
}

/// `nfgenmsg`, then attributes: 3 is the list of elements; in each of them 1 is the key and 2 the value.
fn parse(body: &[u8]) -> Option<Vec<(u16, u16)>> {
    let list = attribute(body.get(4..)?, 3).unwrap_or_default();
    attributes(list).into_iter().map(|(_, element)| Some((port(element, 1)?, port(element, 2)?))).collect()
}

fn port(element: &[u8], kind: u16) -> Option<u16> {
    let value = attribute(attribute(element, kind)?, 1)?;
    value.try_into().ok().map(u16::from_be_bytes)
}

fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).into_iter().find(|found| found.0 == kind).map(|found| found.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(kind: u16, inner: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_attribute(&mut bytes, kind | 0x8000, inner);
        bytes
    }

    fn element(key: &[u8], value: &[u8]) -> Vec<u8> {
        let data = |kind, bytes| nested(kind, &nested(1, bytes));
        nested(1, &[data(1, key), data(2, value)].concat())
    }

    #[test]
    fn elements_are_ports_in_the_networks_order() {
        let list = [
            element(&8101_u16.to_be_bytes(), &8201_u16.to_be_bytes()),
            element(&1_u16.to_be_bytes(), &2_u16.to_be_bytes()),
        ];
        let body = [&[2, 0, 0, 0], nested(1, b"holdfast\0").as_slice(), &nested(3, &list.concat())].concat();
        assert_eq!(parse(&body), Some(vec![(8101, 8201), (1, 2)]));
        assert_eq!(parse(&[2, 0, 0, 0]), Some(vec![]));
    }

    #[test]
    fn another_kind_of_map_is_not_read_as_one_of_ports() {
        let body = [&[2, 0, 0, 0], nested(3, &element(&[1, 2, 3, 4], &[0, 1])).as_slice()].concat();
        assert_eq!(parse(&body), None);
    }
}
