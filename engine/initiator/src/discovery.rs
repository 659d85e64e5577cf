//! SendTargets discovery (RFC 7143 §4.3, appendix C).

use iscsi::keys::Key;
use iscsi::text::{Pairs, TextWriter};

use crate::client::{ask_text, log_in, log_out};
use crate::error::Error;
use crate::options::Options;
use crate::url::Portal;

/// A target a portal knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Discovered {
    /// Its iSCSI name.
    pub name: String,
    /// Where it can be reached, as `host:port,tag`; empty means at the portal that was asked.
    pub addresses: Vec<String>,
}

/// Asks `portal` for all targets this initiator may see, over what [`Options::carrier`] says. (RFC 7145 has discovery
/// sessions on TCP only; Linux runs them over RDMA as well.)
///
/// # Errors
/// Whatever keeps the session from coming about, or [`Error::Login`] when the answer makes no sense.
pub fn discover(portal: &Portal, options: &Options) -> Result<Vec<Discovered>, Error> {
    let mut session = log_in(portal, None, options)?;
    let mut request = TextWriter::new(64);
    request.push(Key::SendTargets.name(), "All").map_err(|_| Error::Ended)?;
    let answer = ask_text(&mut session, &request.into_bytes())?;
    // The list is complete; a portal that does not answer a logout changes nothing about it.
    let _ = log_out(&mut session);
    parse(&answer).map_err(|why| Error::Login { target: portal.to_string(), why: why.to_owned() })
}

fn parse(answer: &[u8]) -> Result<Vec<Discovered>, &'static str> {
    let mut found: Vec<Discovered> = Vec::new();
    // Every PDU of a long answer ends its last pair, so `Pairs` sees one text; its own limit on pairs is for logins.
    for pair in answer.split_inclusive(|b| *b == 0).flat_map(Pairs::new) {
        let pair = pair.map_err(|_| "the list of targets is malformed")?;
        if pair.key == Key::TargetName.name() {
            found.push(Discovered { name: pair.value.to_owned(), addresses: Vec::new() });
        } else if pair.key == Key::TargetAddress.name() {
            let target = found.last_mut().ok_or("an address comes before any target")?;
            target.addresses.push(pair.value.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_name_before_them() {
        let found = parse(b"TargetName=iqn.a:1\0TargetAddress=1.2.3.4:3260,1\0TargetName=iqn.a:2\0").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].addresses.len(), found[1].addresses.len()), (1, 0));
        assert_eq!(found[1].name, "iqn.a:2");
    }

    #[test]
    fn a_long_list_is_no_login() {
        let text: Vec<u8> = (0..1000).flat_map(|i| format!("TargetName=iqn.a:{i}\0").into_bytes()).collect();
        assert_eq!(parse(&text).unwrap().len(), 1000);
    }

    #[test]
    fn malformed_lists_are_refused() {
        assert!(parse(b"TargetAddress=1.2.3.4,1\0").is_err());
        assert!(parse(b"TargetName\0").is_err());
        assert!(parse(b"TargetName=iqn.a:1").is_err());
        assert_eq!(parse(b"").unwrap(), []);
    }
}
