//! The targets of webhooks (section 6.2): the URLs that are accepted, and the addresses that may be connected to.
//!
//! A URL is checked when it arrives; the address of its host is checked again at each connection, because a name can be
//! pointed anywhere later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{Uri, uri::Authority};

use crate::subscription::SubscriptionRefusal;

/// The longest URL, in bytes.
const URL_BYTES_MAX: usize = 2_048;

/// Whether webhooks to this machine are accepted, for development.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LocalTargets {
    /// `http://localhost` and `http://127.0.0.x` are accepted, besides `https` to public addresses.
    Allowed,
    /// Only `https` to public addresses is accepted.
    #[default]
    Refused,
}

/// A URL that webhooks may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    text: Box<str>,
    uri: Uri,
    is_local: bool,
}

impl WebhookUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// [`SubscriptionRefusal::UrlRejected`] with the rule that it breaks.
    pub fn parse(text: &str, local: LocalTargets) -> Result<Self, SubscriptionRefusal> {
        let rejected = |rule| Err(SubscriptionRefusal::UrlRejected(rule));
        if text.len() > URL_BYTES_MAX {
            return rejected("is longer than 2,048 bytes");
        }
        let Ok(uri) = text.parse::<Uri>() else { return rejected("is not a URL") };
        let Some(authority) = uri.authority() else { return rejected("is not an absolute URL") };
        if authority.as_str().contains('@') || text.contains('#') {
            return rejected("must have neither a user nor a fragment");
        }
        // A port that is none would be taken for none at all.
        if authority.as_str() != authority.host() && !matches!(authority.port_u16(), Some(1..)) {
            return rejected("must have a port from 1 to 65535, or none");
        }
        let host = host(authority);
        let address: Option<IpAddr> = host.parse().ok();
        let is_v6 = matches!(address, Some(IpAddr::V6(_)));
        if is_v6 != authority.host().starts_with('[') || (address.is_none() && !is_name(&host)) {
            return rejected("must have a name or an address in its usual form as host");
        }
        let is_local = uri.scheme_str() == Some("http");
        if is_local {
            let names_this_machine = match address {
                Some(IpAddr::V4(address)) => matches!(address.octets(), [127, 0, 0, _]),
                Some(IpAddr::V6(_)) => false,
                None => host == "localhost",
            };
            return match local {
                LocalTargets::Allowed if names_this_machine => Ok(Self { text: text.into(), uri, is_local }),
                LocalTargets::Allowed => rejected("must use https, except for localhost and 127.0.0.x"),
                LocalTargets::Refused => rejected("must use https"),
            };
        }
        if uri.scheme_str() != Some("https") {
            return rejected("must use https");
        }
        let is_local_name = host == "localhost" || host.ends_with(".localhost") || host.ends_with(".local");
        if is_local_name || address.is_some_and(|address| !is_public(address)) {
            return rejected("must not be of this machine or of a private network");
        }
        Ok(Self { text: text.into(), uri, is_local })
    }

    /// Returns the text as it was sent.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the parsed URL.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Returns the host without brackets, in lower case.
    #[must_use]
    pub fn host(&self) -> String {
        self.uri.authority().map(host).unwrap_or_default()
    }

    /// Returns the port to connect to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_local { 80 } else { 443 })
    }

    /// Returns whether the connection is encrypted.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        !self.is_local
    }

    /// Returns the host and the port; deliveries to one target share its bounds.
    #[must_use]
    pub fn target(&self) -> (String, u16) {
        (self.host(), self.port())
    }

    /// Returns whether a connection for this URL may go to an address: a public one, or for a URL of this machine its own.
    #[must_use]
    pub fn may_connect(&self, address: IpAddr) -> bool {
        if self.is_local { address.to_canonical().is_loopback() } else { is_public(address) }
    }
}

fn host(authority: &Authority) -> String {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

/// Returns whether a host is a name. Those who resolve names also take `127.1`, `0x7f000001`, `017700000001` or `fe80::1%eth0`
/// for addresses; a name doesn't end in a number (URL Standard, 3.5).
fn is_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    let digits = last
        .strip_prefix("0x")
        .map_or(last, |hex| hex.trim_end_matches(|digit: char| digit.is_ascii_hexdigit()));
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    !is_number && host.bytes().all(is_plain) && host.split('.').all(is_label)
}

/// Returns whether an address is reachable from the whole internet: not of this machine, of a private or special network, or of a
/// cloud's metadata service, in whatever form it is written.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Returns whether an address is in none of the special ranges (RFC 6890), nor a public one that a cloud uses inside its machines.
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18..=19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
            | [168, 63, 129, 16]
    )
}

/// Returns whether an address is global unicast, and none that leads to an IPv4 address or nowhere.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // An IPv4 address in another form is checked as that.
        [0, 0, 0, 0, 0, 0xffff, _, _] => address.to_ipv4_mapped().is_some_and(is_public_v4),
        // Of NAT64 (64:ff9b::/96), 6to4 (2002::/16) and Teredo (2001::/32) none: the gateway may reach anything.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_special_networks_are_not_public_in_any_form() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "168.63.129.16",
            "169.254.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn everybody_elses_addresses_are_public() {
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "223.255.255.254",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn a_url_is_https_to_a_public_host() {
        let parse = |text| WebhookUrl::parse(text, LocalTargets::Refused);
        for text in [
            "https://worker.example/hooks",
            "https://worker.example:8443",
            "https://8.8.8.8/x?y=1",
            "https://8.worker-8.x8/",
            "https://0xworker.example/",
            "https://xn--bcher-kva.example/",
            "https://a_b.worker.example./",
            "https://[2606:4700::1111]:65535/",
            "https://[2606:4700::1111]",
        ] {
            assert_eq!(parse(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            "worker.example",
            "/hooks",
            "ftp://worker.example",
            "http://worker.example/hooks",
            "https://localhost/x",
            "https://LOCALHOST./x",
            "https://a.localhost",
            "https://printer.local",
            "https://10.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/meta",
            "https://user@worker.example/",
            "https://a:b@worker.example",
            "http://localhost:8080/",
            "http://127.0.0.1/",
            "https://",
            "https:///x",
            "https://worker.example:70000/",
            "https://worker.example:/",
            "https://worker.example:0/",
            "https://worker.example:x/",
            "https://[2606:4700::1111]:65536/",
            "https://127.1/",
            "https://127.0.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0X7F.1/",
            "https://0x/",
            "https://017700000001/",
            "https://0177.0.0.1/",
            "https://127.0.0.01/",
            "https://1.2.3.4.5/",
            "https://134744072/",
            "https://worker.8/",
            "https://worker.0x8/",
            "https://[fe80::1%25eth0]/",
            "https://[2606:4700::1111%25eth0]/",
            "https://[v1.x]/",
            "https://%31%32%37.0.0.1/",
            "https://worker%2eexample/",
            "https://worker!example/",
            "https://./",
            "https://a..b/",
            "https://-/",
            "https://a.-b.c/",
        ] {
            assert!(
                matches!(parse(text), Err(SubscriptionRefusal::UrlRejected(_))),
                "{text:?} {:?}",
                parse(text)
            );
        }
        assert!(parse(&format!("https://worker.example/{}", "x".repeat(2_100))).is_err());
    }

    #[test]
    fn this_machine_is_a_target_only_by_name_and_by_leave() {
        let parse = |text| WebhookUrl::parse(text, LocalTargets::Allowed);
        for text in
            ["http://localhost:8080/x", "http://127.0.0.1", "http://127.0.0.9:1/", "https://worker.example"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://10.0.0.1/hook",
            "http://192.168.0.1",
            "http://worker.example",
            "http://127.1.0.1",
            "http://[::1]/",
            "https://localhost/",
            "http://0.0.0.0/",
            "http://localhost.example/",
        ] {
            assert!(matches!(parse(text), Err(SubscriptionRefusal::UrlRejected(_))), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_pointed_elsewhere_is_not_connected_to() {
        let public = WebhookUrl::parse("https://worker.example", LocalTargets::Allowed).unwrap();
        let local = WebhookUrl::parse("http://localhost:1", LocalTargets::Allowed).unwrap();
        let connects = |url: &WebhookUrl, address: &str| url.may_connect(address.parse().unwrap());
        assert!(connects(&public, "8.8.8.8") && !connects(&public, "127.0.0.1") && !connects(&public, "::1"));
        assert!(
            connects(&local, "127.0.0.1") && connects(&local, "::1") && connects(&local, "::ffff:127.0.0.1")
        );
        assert!(!connects(&local, "10.0.0.1") && !connects(&local, "8.8.8.8"));
        assert_eq!((public.target(), public.is_tls()), (("worker.example".into(), 443), true));
        assert_eq!((local.port(), local.is_tls()), (1, false));
    }
}
