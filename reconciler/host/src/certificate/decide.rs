//! What is to be done about a certificate, as a function of what is there.

use holdfast_protocol::{CertificateIssuer, CertificateSpec};

use super::openssl::Chain;

/// The least time between two tries of an authority, after the first that failed, in milliseconds.
const FIRST_WAIT_MS: u64 = 10 * 60_000;
/// The most.
const LAST_WAIT_MS: u64 = 6 * 3_600_000;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// What is served is good.
    Nothing,
    /// One that was issued takes the place of what is served.
    Install,
    /// Another one is issued.
    Issue,
}

/// Returns what is to be done, from what nginx is told to serve and what the authority issued last.
pub(super) fn need(spec: &CertificateSpec, served: Option<&Chain>, issued: Option<&Chain>, now_ms: u64) -> Need {
    let good = |chain: &Chain| {
        let acme = matches!(spec.issuer, CertificateIssuer::Acme { .. });
        chain.own != acme
            && !chain.temporary
            && chain.is_for(&spec.domains)
            && chain.not_after_ms > now_ms.saturating_add(spec.due_before_ms(chain.lifetime_ms))
    };
    match (served.filter(|chain| good(chain)), issued.filter(|chain| good(chain))) {
        (Some(served), Some(issued)) if issued.not_after_ms > served.not_after_ms => Need::Install,
        (Some(_), _) => Need::Nothing,
        (None, Some(_)) => Need::Install,
        (None, None) => Need::Issue,
    }
}

/// Returns how long an authority is left alone after this many tries in a row that failed, in milliseconds.
///
/// # Source
/// <https://letsencrypt.org/docs/rate-limits/>: five failed authorizations of one name in an hour.
pub(super) fn wait_ms(tries: u32) -> u64 {
    match tries {
        0 => 0,
        tries => FIRST_WAIT_MS.saturating_mul(1 << (tries - 1).min(10)).min(LAST_WAIT_MS),
    }
}

/// Returns the content of the file for the HSTS header: the header only when HTTPS was proven.
pub(super) fn hsts(spec: &CertificateSpec, proven: bool) -> String {
    if spec.hsts.is_empty() || !proven {
        return "# Written by Holdfast. No HSTS: HTTPS is not proven, or it is not declared.\n".to_owned();
    }
    // The value is made of fixed words and a number.
    format!("# Written by Holdfast.\nadd_header Strict-Transport-Security \"{}\" always;\n", spec.hsts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn spec(acme: bool) -> CertificateSpec {
        CertificateSpec {
            environment: "prod".to_owned(),
            name: "shop".to_owned(),
            domains: vec!["b.example".to_owned(), "a.example".to_owned()],
            issuer: if acme {
                CertificateIssuer::Acme { directory: String::new(), email: String::new(), trust: String::new() }
            } else {
                CertificateIssuer::SelfSigned {}
            },
            renew_before_ms: 30 * DAY,
            hsts: "max-age=1".to_owned(),
            port: 443,
        }
    }

    fn chain(days: u64) -> Chain {
        Chain {
            issuer: "CN=x".to_owned(),
            domains: vec!["a.example".to_owned(), "b.example".to_owned()],
            not_after_ms: days * DAY,
            lifetime_ms: 90 * DAY,
            own: false,
            temporary: false,
        }
    }

    #[test]
    fn cap_45_what_is_good_stays_and_nobody_is_asked() {
        let need = |served: Option<&Chain>, issued: Option<&Chain>| need(&spec(true), served, issued, 0);
        assert_eq!(need(Some(&chain(31)), None), Need::Nothing);
        assert_eq!(need(Some(&chain(30)), None), Need::Issue);
        assert_eq!(need(Some(&chain(90)), Some(&chain(90))), Need::Nothing);
        assert_eq!(need(None, None), Need::Issue);
        let short = |days| Chain { lifetime_ms: 6 * DAY, ..chain(days) };
        assert_eq!(
            need(Some(&short(4)), None),
            Need::Nothing,
            "one that lives for days is not asked for at every look"
        );
        assert_eq!(need(Some(&short(3)), None), Need::Issue);
        let mut other = chain(90);
        other.domains.pop();
        assert_eq!(need(Some(&other), None), Need::Issue, "the names changed");
        assert_eq!(need(Some(&chain(90)), Some(&other)), Need::Nothing);
    }

    #[test]
    fn cap_44_what_was_issued_before_a_cut_is_used_and_no_other_asked_for() {
        let need = |served: Option<&Chain>, issued: Option<&Chain>| need(&spec(true), served, issued, 0);
        let temporary = Chain { own: true, temporary: true, ..chain(90) };
        assert_eq!(need(Some(&temporary), None), Need::Issue);
        assert_eq!(need(Some(&temporary), Some(&chain(90))), Need::Install);
        assert_eq!(need(Some(&chain(20)), Some(&chain(90))), Need::Install);
        assert_eq!(need(Some(&chain(40)), Some(&chain(90))), Need::Install);
        assert_eq!(need(Some(&chain(20)), Some(&chain(20))), Need::Issue);
    }

    #[test]
    fn cap_46_one_of_its_own_is_good_only_where_that_is_declared() {
        let own = Chain { own: true, ..chain(90) };
        assert_eq!(need(&spec(false), Some(&own), None, 0), Need::Nothing);
        assert_eq!(need(&spec(false), Some(&Chain { not_after_ms: 0, ..own.clone() }), None, 0), Need::Issue);
        assert_eq!(need(&spec(true), Some(&own), None, 0), Need::Issue, "development became production");
        assert_eq!(need(&spec(false), Some(&chain(90)), None, 0), Need::Issue);
    }

    #[test]
    fn an_authority_is_left_alone_longer_each_time() {
        assert_eq!(wait_ms(0), 0);
        let waits: Vec<u64> = (1..9).map(wait_ms).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
        assert_eq!((waits[0], waits[7]), (FIRST_WAIT_MS, LAST_WAIT_MS));
        assert_eq!(wait_ms(u32::MAX), LAST_WAIT_MS);
    }

    #[test]
    fn cap_47_no_header_without_a_proof() {
        assert!(!hsts(&spec(true), false).contains("add_header"));
        let header = "add_header Strict-Transport-Security \"max-age=1\" always;\n";
        assert!(hsts(&spec(true), true).ends_with(header));
        let none = CertificateSpec { hsts: String::new(), ..spec(true) };
        assert!(!hsts(&none, true).contains("add_header"));
    }
}
