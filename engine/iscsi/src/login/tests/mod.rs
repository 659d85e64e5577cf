//! An initiator to log in with, and a configuration to log in to.
use super::*;
use crate::chap::{self, Mutual};
use crate::limits::LOGIN_ENTROPY;
use crate::negotiate::DigestPolicy;
use crate::text::Base16;
use crate::wire::{BHS_LEN, LoginRequest, LoginResponse, Opcode, Stage};
use alloc::format;
use alloc::vec;

mod hostile;
mod properties;
mod transcripts;

const INITIATOR: &str = "iqn.1994-05.com.example:host";
const TARGET: &str = "iqn.2016-06.io.example:disk1";
const ENTROPY: [u8; LOGIN_ENTROPY] = [0x5A; LOGIN_ENTROPY];
const SECRET: &[u8] = b"initiator-secret";
const TARGET_SECRET: &[u8] = b"the-targets-secret";

const CHAP: ChapPolicy = ChapPolicy { group: 3, mutual_required: false, weakest: Algorithm::Md5 };

/// A configuration with one target.
struct World {
    auth: AuthPolicy,
    policy: Policy,
    alias: Option<String>,
    refusal: Option<Refusal>,
}

impl World {
    fn new(auth: AuthPolicy) -> Self {
        Self { auth, policy: Policy::default(), alias: None, refusal: None }
    }

    fn open() -> Self {
        Self::new(AuthPolicy::None)
    }
}

impl Access for World {
    fn target(&self, initiator: &str, target: &str) -> Result<TargetAccess, Refusal> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        match (initiator, target) {
            (INITIATOR, TARGET) => Ok(TargetAccess {
                handle: 42,
                portal_group_tag: 1,
                alias: self.alias.clone(),
                auth: self.auth,
                policy: self.policy,
            }),
            (_, TARGET) => Err(LoginStatus::AUTHORIZATION_FAILURE.into()),
            _ => Err(LoginStatus::NOT_FOUND.into()),
        }
    }

    fn discovery(&self, _: &str) -> Result<DiscoveryAccess, Refusal> {
        Ok(DiscoveryAccess { auth: self.auth, policy: self.policy, portal_group_tag: None })
    }

    fn secret(&self, group: u32, user: &str) -> Option<Secret> {
        let mutual = Some(Mutual { user: "disk1".into(), secret: TARGET_SECRET.to_vec() });
        (group == CHAP.group && user == "host").then(|| Secret { secret: SECRET.to_vec(), mutual })
    }
}

/// The initiator's end of one login.
struct Peer {
    login: Login,
    world: World,
    header: LoginRequest,
}

impl Peer {
    fn new(transport: Transport, world: World) -> Self {
        let header = LoginRequest {
            isid: [0x00, 0x02, 0x3D, 0, 0, 1],
            itt: 0x0100_0000,
            cid: 7,
            cmd_sn: Serial(100),
            exp_stat_sn: Serial(5000),
            ..LoginRequest::default()
        };
        Self { login: Login::new(transport, ENTROPY), world, header }
    }

    fn tcp(world: World) -> Self {
        Self::new(Transport::Tcp, world)
    }

    /// Sends one request as it is.
    fn raw(&mut self, header: &LoginRequest, text: &[u8]) -> Step {
        let len = u32::try_from(text.len()).unwrap();
        self.login.receive(&header.encode().with_data_segment_length(len), text, &self.world)
    }

    /// Sends keys, one to a word, in `csg`, asking for `nsg`.
    fn send(&mut self, csg: Stage, nsg: Option<Stage>, keys: &str) -> Step {
        let header =
            LoginRequest { transit: nsg.is_some(), csg: csg.bits(), nsg: nsg.map_or(0, Stage::bits), ..self.header };
        self.raw(&header, &words(keys))
    }

    fn security(&mut self, nsg: Option<Stage>, keys: &str) -> Step {
        self.send(Stage::Security, nsg, keys)
    }

    fn operational(&mut self, keys: &str) -> Step {
        self.send(Stage::Operational, Some(Stage::FullFeature), keys)
    }

    /// Gives the session that was asked for.
    fn register(&mut self, step: Step) -> (String, LoginResponse, Established) {
        let Step::Register(registration) = step else { panic!("{step:?}") };
        assert_eq!(registration.isid, self.header.isid);
        match self.login.registered(Ok(Registered { tsih: 9 })) {
            Step::Established(response, established) => {
                let (text, header) = open(&response);
                assert_eq!((header.status(), header.transit, header.nsg), (LoginStatus::SUCCESS, true, 3));
                assert_eq!((header.tsih, established.tsih, header.isid), (9, 9, self.header.isid));
                (text, header, established)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The CHAP keys that answer a challenge with `secret`.
    fn answer(challenge: &str, user: &str, secret: &[u8]) -> String {
        let value = |key| challenge.split(' ').find_map(|pair| pair.strip_prefix(key)).unwrap();
        let given = (value("CHAP_A="), value("CHAP_I="), value("CHAP_C="));
        let (_, response) = chap::respond(given, Algorithm::Md5, secret).unwrap();
        format!("CHAP_N={user} CHAP_R={}", Base16(response.as_bytes()))
    }
}

/// Keys separated by spaces, as text.
fn words(keys: &str) -> Vec<u8> {
    keys.split_whitespace().flat_map(|key| [key.as_bytes(), b"\0"].concat()).collect()
}

/// Text and header of a response, after the checks that every response stands.
fn open(response: &Response) -> (String, LoginResponse) {
    let header = LoginResponse::decode(&response.bhs);
    assert_eq!(response.bhs.opcode(), Opcode::LOGIN_RESPONSE);
    assert_eq!(response.bhs.data_segment_length() as usize, response.text.len());
    assert!(response.text.len() <= crate::limits::LOGIN_SEGMENT_MAX);
    assert!(!(header.cont && header.transit));
    assert_eq!((header.version_max, header.version_active), (0, 0));
    (String::from_utf8(response.text.clone()).unwrap().replace('\0', " ").trim_end().into(), header)
}

#[track_caller]
fn reply(step: Step) -> (String, LoginResponse) {
    match step {
        Step::Reply(response) => {
            let (text, header) = open(&response);
            assert_eq!(header.status(), LoginStatus::SUCCESS);
            (text, header)
        }
        other => panic!("{other:?}"),
    }
}

/// The status of a refusal.
#[track_caller]
fn refused(step: Step) -> LoginStatus {
    match step {
        Step::Refuse(response, why) => {
            let (_, header) = open(&response);
            assert!(!why.is_empty() && header.status().class() != 0);
            assert_eq!((header.transit, header.cont, header.csg, header.nsg), (false, false, 0, 0));
            header.status()
        }
        other => panic!("{other:?}"),
    }
}

/// The keys every first request begins with.
fn names() -> String {
    format!("InitiatorName={INITIATOR} TargetName={TARGET} SessionType=Normal")
}
