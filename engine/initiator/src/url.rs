//! Addresses as libiscsi writes them: `iscsi://[user[%password]@]host[:port]/target-iqn/lun`, IPv6 in brackets.
//! `iser://` instead is over RDMA, and `?provider=siw` behind it says by which provider (`auto`, `siw`, `verbs`).

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::error::Error;
use crate::options::{Carrier, Chap, RdmaProvider};

/// The port IANA gave to iSCSI targets (RFC 7143 §4.2.6.3).
pub const ISCSI_PORT: u16 = 3260;

/// iSCSI names are at most this long (RFC 7143 §4.2.7.1).
const MAX_NAME: usize = 223;

/// A host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Portal {
    /// Name or address; IPv6 without its brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Portal {
    /// The first address of the host.
    ///
    /// # Errors
    /// [`Error::Resolve`].
    pub fn resolve(&self) -> Result<SocketAddr, Error> {
        let fail = |source| Error::Resolve { host: self.host.clone(), source };
        let none = || fail(std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address"));
        (self.host.as_str(), self.port).to_socket_addrs().map_err(fail)?.next().ok_or_else(none)
    }

    /// Reads `host[:port]`, `[v6][:port]`, and either with `,tag` behind it, as TargetAddress values are
    /// (RFC 7143 §13.8).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.split_once(',').map_or(text, |(address, _tag)| address);
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("the bracket of the IPv6 address is not closed")?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err("only :port may follow the IPv6 address"),
                }
            }
            None => match text.split_once(':') {
                Some((_, rest)) if rest.contains(':') => return Err("an IPv6 address needs brackets"),
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        if host.is_empty() {
            return Err("the host is missing");
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|p| *p != 0).ok_or("the port is not a number of 1 to 65535")?,
            None => ISCSI_PORT,
        };
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Portal {
    /// Reads `[iscsi://|iser://]host[:port]`, the latter with a `?provider=` if need be: a portal to discover at, and
    /// what [carries](crate::Options::carrier) the session.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn with_carrier(text: &str) -> Result<(Self, Carrier), Error> {
        let bad = |why| Error::Url { url: text.to_owned(), why };
        let (carrier, rest) = match text.split_once("://") {
            Some(_) => scheme(text).map_err(bad)?,
            None => (Carrier::Tcp, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        Ok((Self::parse(rest).map_err(bad)?, carrier))
    }
}

impl FromStr for Portal {
    type Err = Error;

    /// Reads a portal, with or without a scheme before it, which is forgotten.
    fn from_str(text: &str) -> Result<Self, Error> {
        Self::with_carrier(text).map(|(portal, _)| portal)
    }
}

/// Takes scheme and query off a URL: what carries it, and what is between them.
fn scheme(text: &str) -> Result<(Carrier, &str), &'static str> {
    if let Some(rest) = text.strip_prefix("iscsi://") {
        return Ok((Carrier::Tcp, rest));
    }
    let rest = text.strip_prefix("iser://").ok_or("it begins neither with iscsi:// nor with iser://")?;
    // A question mark before the last slash belongs to a password.
    let query = rest.rsplit_once('?').filter(|(_, query)| !query.contains('/'));
    let Some((rest, query)) = query else { return Ok((Carrier::Iser(RdmaProvider::Auto), rest)) };
    let provider = query.strip_prefix("provider=").ok_or("only ?provider= may follow")?;
    let provider = RdmaProvider::named(provider).ok_or("the provider must be auto, siw or verbs")?;
    Ok((Carrier::Iser(provider), rest))
}

/// A logical unit of a target at a portal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    /// What carries the session.
    pub carrier: Carrier,
    /// Where the target listens.
    pub portal: Portal,
    /// The target's iSCSI name.
    pub target: String,
    /// The logical unit number.
    pub lun: u16,
    /// CHAP user and secret, if the URL has them.
    pub chap: Option<Chap>,
}

impl Url {
    /// The LUN as the eight bytes a PDU carries: peripheral device addressing to 255, flat space above (SAM-5 §4.7).
    #[must_use]
    pub fn lun_field(&self) -> [u8; 8] {
        lun_field(self.lun)
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (carrier, text) = scheme(text)?;
        let (head, path) = text.split_once('/').ok_or("the target name is missing")?;
        let (chap, head) = match head.rsplit_once('@') {
            Some((user, host)) => (Some(credentials(user)?), host),
            None => (None, head),
        };
        let (target, lun) = path.rsplit_once('/').ok_or("the LUN is missing")?;
        if target.is_empty() || target.len() > MAX_NAME || target.contains('/') {
            return Err("the target name must have 1 to 223 bytes and no slash");
        }
        // Control characters would be mistaken for the end of a key.
        if target.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("the target name has a control character or space in it");
        }
        let lun = lun.parse().ok().filter(|lun| *lun < 1 << 14).ok_or("the LUN is not a number of 0 to 16383")?;
        Ok(Self { carrier, portal: Portal::parse(head)?, target: target.to_owned(), lun, chap })
    }
}

fn credentials(text: &str) -> Result<Chap, &'static str> {
    let (user, secret) = text.split_once('%').ok_or("the CHAP password is missing: write user%password@host")?;
    if user.is_empty() || secret.is_empty() {
        return Err("CHAP user and password must not be empty");
    }
    Ok(Chap { user: user.to_owned(), secret: secret.to_owned() })
}

/// The LUN field of `lun`, which is below 16384.
pub(crate) fn lun_field(lun: u16) -> [u8; 8] {
    let [high, low] = lun.to_be_bytes();
    let method = if lun < 256 { 0x00 } else { 0x40 };
    [method | high, low, 0, 0, 0, 0, 0, 0]
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::parse(text).map_err(|why| Error::Url { url: redact(text), why })
    }
}

impl fmt::Display for Url {
    /// The URL without its password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.carrier == Carrier::Tcp { "iscsi://" } else { "iser://" })?;
        if let Some(chap) = &self.chap {
            write!(f, "{}%***@", chap.user)?;
        }
        write!(f, "{}/{}/{}", self.portal, self.target, self.lun)?;
        match self.carrier {
            Carrier::Tcp | Carrier::Iser(RdmaProvider::Auto) => Ok(()),
            Carrier::Iser(provider) => write!(f, "?provider={}", provider.name()),
        }
    }
}

/// The URL without what could be a password, for messages.
fn redact(text: &str) -> String {
    match (text.find('%'), text.rfind('@')) {
        (Some(from), Some(to)) if from < to => format!("{}%***{}", &text[..from], &text[to..]),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(text: &str) -> &'static str {
        match text.parse::<Url>() {
            Err(Error::Url { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn all_parts_are_found() {
        let url: Url = "iscsi://me%se:c@ret@[::1]:3999/iqn.2003-01.org:disk.1/300".parse().unwrap();
        assert_eq!(url.portal, Portal { host: "::1".into(), port: 3999 });
        assert_eq!((url.target.as_str(), url.lun), ("iqn.2003-01.org:disk.1", 300));
        assert_eq!(url.chap, Some(Chap { user: "me".into(), secret: "se:c@ret".into() }));
        assert_eq!(url.lun_field(), [0x41, 0x2c, 0, 0, 0, 0, 0, 0]);
        assert_eq!(url.to_string(), "iscsi://me%***@[::1]:3999/iqn.2003-01.org:disk.1/300");
        assert!(!format!("{url:?}").contains("c@ret"));
    }

    #[test]
    fn what_may_be_left_out_has_a_default() {
        let url: Url = "iscsi://box/iqn.a:b/1".parse().unwrap();
        assert_eq!(url.portal, Portal { host: "box".into(), port: ISCSI_PORT });
        assert_eq!((url.chap.is_none(), url.lun_field()), (true, [0, 1, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn each_fault_is_named() {
        assert!(why("http://box/iqn/0").contains("iscsi://"));
        assert!(why("iscsi://box").contains("target name"));
        assert!(why("iscsi://box/iqn.a:b").contains("LUN"));
        assert!(why("iscsi://box/iqn.a:b/x").contains("LUN"));
        assert!(why("iscsi://box/iqn.a:b/16384").contains("LUN"));
        assert!(why("iscsi://box:0/iqn.a:b/0").contains("port"));
        assert!(why("iscsi://box:65536/iqn.a:b/0").contains("port"));
        assert!(why("iscsi://[::1/iqn.a:b/0").contains("bracket"));
        assert!(why("iscsi://[::1]x/iqn.a:b/0").contains("IPv6"));
        assert!(why("iscsi://::1/iqn.a:b/0").contains("brackets"));
        assert!(why("iscsi:///iqn.a:b/0").contains("host"));
        assert!(why("iscsi://me@box/iqn.a:b/0").contains("password"));
        assert!(why("iscsi://me%@box/iqn.a:b/0").contains("empty"));
        assert!(why("iscsi://box//0").contains("target name"));
        assert!(why("iscsi://box/a b/0").contains("space"));
        assert!(why(&format!("iscsi://box/{}/0", "n".repeat(224))).contains("223"));
    }

    #[test]
    fn iser_and_its_provider_are_found() {
        for (query, provider) in [
            ("", RdmaProvider::Auto),
            ("?provider=auto", RdmaProvider::Auto),
            ("?provider=siw", RdmaProvider::Siw),
            ("?provider=verbs", RdmaProvider::Verbs),
        ] {
            let url: Url = format!("iser://me%s?e@box/iqn.a:b/7{query}").parse().unwrap();
            assert_eq!((url.carrier, url.lun), (Carrier::Iser(provider), 7));
            assert_eq!(url.chap.as_ref().map(|c| c.secret.as_str()), Some("s?e"));
            assert_eq!(url, url.to_string().replace("***", "s?e").parse().unwrap());
            let (portal, carrier) = Portal::with_carrier(&format!("iser://box:1{query}")).unwrap();
            assert_eq!((portal.to_string().as_str(), carrier), ("box:1", Carrier::Iser(provider)));
        }
        assert!(why("iser://box/iqn.a:b/0?provider=x").contains("auto, siw or verbs"));
        assert!(why("iser://box/iqn.a:b/0?x=siw").contains("provider"));
        assert!(why("iscsi://box/iqn.a:b/0?provider=siw").contains("LUN"));
        assert_eq!(Portal::with_carrier("box").unwrap().1, Carrier::Tcp);
        assert!(Portal::with_carrier("http://box").is_err());
    }

    #[test]
    fn messages_do_not_give_the_password_away() {
        let message = "iscsi://me%secret@box/iqn".parse::<Url>().unwrap_err().to_string();
        assert!(message.contains("me%***@box") && !message.contains("secret"), "{message}");
    }

    #[test]
    fn portals_are_read_from_target_addresses() {
        assert_eq!(Portal::parse("10.0.0.1:3261,1"), Ok(Portal { host: "10.0.0.1".into(), port: 3261 }));
        assert_eq!("iscsi://[::1]:1/".parse::<Portal>().unwrap().to_string(), "[::1]:1");
        assert!(Portal::parse("[::1]3260,1").is_err());
    }
}
