//! The origin as the client reaches it: what proxies say of it (RFC 7239, and the older `X-Forwarded-Proto` and
//! `X-Forwarded-Host`), and who is believed.

use std::{net::IpAddr, str::FromStr};

use http::uri::Authority;
use ipnet::IpNet;

use super::head::RequestHead;
use crate::names;

/// The networks of the proxies that may say how clients reach them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Returns whether this address is one of them.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        // A socket that listens on IPv6 may see IPv4 as `::ffff:10.0.0.1`.
        let peer = peer.to_canonical();
        self.0.iter().any(|network| network.contains(&peer))
    }
}

impl FromIterator<IpNet> for TrustedProxies {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Reads an address, or a network such as `10.0.0.0/8`.
///
/// ```
/// use headwater_protocol::request::network;
///
/// assert_eq!(network("10.0.0.0/8"), Some("10.0.0.0/8".parse()?));
/// assert_eq!(network("::1"), Some("::1/128".parse()?));
/// assert_eq!(network("proxy.example"), None);
/// # Ok::<_, ipnet::AddrParseError>(())
/// ```
#[must_use]
pub fn network(text: &str) -> Option<IpNet> {
    let network = IpNet::from_str(text).ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    // An IPv4 network in IPv6's spelling is that network.
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(network), IpAddr::V4(address)) => {
            IpNet::new(address.into(), network.prefix_len().checked_sub(96)?).ok()
        }
        _ => Some(network),
    }
}

/// A mark among a request's extensions: it comes from a [trusted proxy](TrustedProxies).
#[derive(Clone, Copy, Debug)]
pub struct FromTrustedProxy;

/// Returns the origin as the client reaches it, such as `https://streams.example`; empty if the request names no valid
/// host. Of what a trusted proxy says the first element counts: the proxy that is next to the client.
pub(crate) fn origin(head: &impl RequestHead) -> String {
    let told = if head.is_from_trusted_proxy() { Told::read(head) } else { Told::default() };
    let scheme = told.scheme.or_else(|| scheme(head.scheme()?)).unwrap_or("http");
    let host = told.host.or_else(|| head.authority().filter(|text| is_host(text)).map(str::to_owned));
    host.map_or(String::new(), |host| format!("{scheme}://{host}"))
}

/// What a proxy tells of the client's request.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    scheme: Option<&'static str>,
    host: Option<String>,
}

impl Told {
    fn read(head: &impl RequestHead) -> Self {
        let lines = |name| head.header(&name).filter_map(|line| std::str::from_utf8(line).ok());
        // Empty elements of lists don't count (RFC 9110, 5.6.1.2).
        let is_empty = |line: &&str| line.trim_matches([',', ' ', '\t']).is_empty();
        let first =
            |name| lines(name).flat_map(|line| line.split(',')).map(str::trim).find(|text| !text.is_empty());
        let forwarded = lines(names::FORWARDED).find(|line| !is_empty(line));
        let Self { scheme: told_scheme, host } = forwarded.and_then(Self::of_forwarded).unwrap_or_default();
        Self {
            scheme: told_scheme.or_else(|| scheme(first(names::X_FORWARDED_PROTO)?)),
            host: host
                .or_else(|| first(names::X_FORWARDED_HOST).filter(|text| is_host(text)).map(str::to_owned)),
        }
    }

    /// Reads the first element of a `Forwarded` line (RFC 7239, 4); `None` if it is malformed.
    fn of_forwarded(line: &str) -> Option<Self> {
        let mut told = Self::default();
        let mut rest = line.trim_start_matches([',', ' ', '\t']);
        loop {
            rest = rest.trim_start_matches([' ', '\t', ';']);
            if rest.is_empty() || rest.starts_with(',') {
                return Some(told);
            }
            let (name, tail) = rest.split_once('=')?;
            let value;
            (value, rest) = pair_value(tail)?;
            match name.trim() {
                name if name.eq_ignore_ascii_case("proto") => told.scheme = scheme(&value),
                name if name.eq_ignore_ascii_case("host") => {
                    told.host = Some(value).filter(|host| is_host(host));
                }
                _ => {}
            }
        }
    }
}

/// Splits a token or a quoted string from what follows it.
fn pair_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (token, rest) = text.split_at_checked(end)?;
        return Some((token.trim().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    loop {
        match characters.next()? {
            '"' => break,
            '\\' => value.push(characters.next()?),
            character => value.push(character),
        }
    }
    let rest = characters.as_str().trim_start_matches([' ', '\t']);
    (rest.is_empty() || rest.starts_with([';', ','])).then_some((value, rest))
}

fn scheme(text: &str) -> Option<&'static str> {
    ["https", "http"].into_iter().find(|known| text.trim().eq_ignore_ascii_case(known))
}

/// Returns whether a text is a host, with a port or without.
fn is_host(text: &str) -> bool {
    let is_authority = |authority: Authority| {
        let has_port = authority.as_str() != authority.host();
        !authority.host().is_empty() && (!has_port || authority.port_u16().is_some())
    };
    text.is_ascii() && !text.contains('@') && text.parse().is_ok_and(is_authority)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::request::tests::{AnyHead, TestHead};

    #[test]
    fn networks_have_the_addresses_that_are_in_them() {
        let proxies: TrustedProxies = ["10.0.0.0/8", "::1", "192.0.2.7", "::ffff:192.0.3.0/120"]
            .into_iter()
            .filter_map(network)
            .collect();
        for (peer, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("::1", true),
            ("::2", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("192.0.3.1", true),
            ("192.0.4.1", false),
        ] {
            assert_eq!(proxies.contains(peer.parse().unwrap()), expected, "{peer}");
        }
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.0/", "*", "1", "::ffff:10.0.0.0/90"] {
            assert_eq!(network(text), None, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_believed_only_if_it_is_trusted() {
        let proto = |value| vec![("x-forwarded-proto", value)];
        let host = |value| vec![("x-forwarded-host", value)];
        let forwarded = |value| vec![("forwarded", value)];
        for (headers, expected) in [
            (vec![], "http://streams.example"),
            (proto("https"), "https://streams.example"),
            (proto("HTTPS"), "https://streams.example"),
            (proto("https, http"), "https://streams.example"),
            (proto(" https ,http"), "https://streams.example"),
            (proto("http, https"), "http://streams.example"),
            (proto("ftp"), "http://streams.example"),
            (proto(""), "http://streams.example"),
            (host("a.example:8443"), "http://a.example:8443"),
            (host("a.example, b.example"), "http://a.example"),
            (host("a b"), "http://streams.example"),
            (host("u@a.example"), "http://streams.example"),
            (host("a.example/x"), "http://streams.example"),
            (host(""), "http://streams.example"),
            (host(":80"), "http://streams.example"),
            (host("a.example:99999"), "http://streams.example"),
            (host("a.example:"), "http://streams.example"),
            (host(" , a.example"), "http://a.example"),
            (proto(", https"), "https://streams.example"),
            (forwarded("proto=https"), "https://streams.example"),
            (forwarded("for=192.0.2.60;Proto=HTTPS;by=203.0.113.43"), "https://streams.example"),
            (
                forwarded("for=\"[2001:db8::1]:4711\";host=\"a.example:8443\" ; proto=\"https\""),
                "https://a.example:8443",
            ),
            (forwarded("host=a.example;proto=https, host=b.example;proto=http"), "https://a.example"),
            (forwarded("for=\"a,b;proto=http\";proto=https"), "https://streams.example"),
            (forwarded("host=\"a\\.example\""), "http://a.example"),
            (forwarded("for=192.0.2.60, proto=https"), "http://streams.example"),
            (forwarded("proto"), "http://streams.example"),
            (forwarded("proto=\"https"), "http://streams.example"),
            (forwarded("proto=\"https\"x"), "http://streams.example"),
            (forwarded(""), "http://streams.example"),
            (forwarded(",proto=https"), "https://streams.example"),
            (vec![("forwarded", " , "), ("forwarded", "proto=https")], "https://streams.example"),
            // What one header doesn't tell, the other may.
            (
                vec![("forwarded", "for=192.0.2.60"), ("x-forwarded-proto", "https")],
                "https://streams.example",
            ),
            (vec![("forwarded", "proto=https"), ("x-forwarded-proto", "http")], "https://streams.example"),
            (vec![("x-forwarded-proto", "https"), ("x-forwarded-proto", "http")], "https://streams.example"),
        ] {
            let trusted = TestHead { headers, is_from_trusted_proxy: true, ..TestHead::default() };
            assert_eq!(origin(&trusted), expected, "{:?}", trusted.headers);
            let stranger = TestHead { is_from_trusted_proxy: false, ..trusted };
            assert_eq!(origin(&stranger), "http://streams.example", "{:?}", stranger.headers);
        }
    }

    #[test]
    fn the_scheme_of_the_target_counts_unless_a_proxy_says_another() {
        for (scheme, headers, expected) in [
            (Some("https"), vec![], "https://streams.example"),
            (Some("HTTPS"), vec![], "https://streams.example"),
            (Some("ftp"), vec![], "http://streams.example"),
            (Some("https"), vec![("x-forwarded-proto", "http")], "http://streams.example"),
        ] {
            let head = TestHead { scheme, headers, is_from_trusted_proxy: true, ..TestHead::default() };
            assert_eq!(origin(&head), expected, "{head:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_proxies_say_an_origin_is_one_or_empty(
            lines in prop::collection::vec(("[a-z]{0,9}|forwarded", ".{0,40}|(proto|host|for)=\"?[a-z:.\\\\\",;= ]{0,20}"), 0..4),
        ) {
            let headers = [names::FORWARDED, names::X_FORWARDED_HOST, names::X_FORWARDED_PROTO]
                .into_iter()
                .cycle()
                .zip(lines.into_iter().map(|(_, value)| value.into_bytes()))
                .collect();
            let origin = origin(&AnyHead { headers, is_from_trusted_proxy: true, ..AnyHead::default() });
            let is_origin = origin.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some() && uri.query().is_none());
            prop_assert!(origin.is_empty() || is_origin, "{origin}");
        }
    }
}
