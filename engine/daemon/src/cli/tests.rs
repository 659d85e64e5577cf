use super::*;
use clap::CommandFactory;
use clap::error::ErrorKind;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn serve_defaults() {
    let Command::Serve(args) = parse("isere serve").unwrap().command else { panic!("serve") };
    assert_eq!((args.memory, args.wait_for_rpc, args.metrics), (256 << 20, false, None));
    let line = "isere serve --cores 0-1 --metrics 9090 --log-level WARNING --memory 1G --hugepages off --idle spin";
    let Command::Serve(args) = parse(line).unwrap().command else { panic!("serve") };
    assert_eq!(args.metrics, Some("127.0.0.1:9090".parse().unwrap()));
    assert_eq!((args.memory, args.log_level), (1 << 30, crate::log::Level::Warning));
}

#[test]
fn wrong_usage_exits_with_2() {
    for line in [
        "isere",
        "isere serve --memory 0",
        "isere serve --memory 1X",
        "isere serve --metrics nowhere",
        "isere serve --wait-for-rpc --config f",
        "isere rpc",
        "isere perf",
        "isere perf http://h/",
        "isere perf iscsi://h/iqn.2020-01.x:t/0 --mix 101",
        "isere perf iscsi://h/iqn.2020-01.x:t/0 --qd 0",
        "isere perf iscsi://h/iqn.2020-01.x:t/0 --chap-user u",
        "isere nonsense",
    ] {
        assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
    }
    assert_eq!(parse("isere --help").unwrap_err().kind(), ErrorKind::DisplayHelp);
}

#[test]
fn sizes() {
    for (text, bytes) in [("1", 1), ("4k", 4096), ("4KiB", 4096), ("1M", 1 << 20), ("2G", 2 << 30), ("1t", 1 << 40)] {
        assert_eq!(serve::parse_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "k", "-1", "1.5G", "99999999999T", "0", "1 G"] {
        assert!(serve::parse_size(text).is_err(), "{text}");
    }
}

#[test]
fn perf_patterns() {
    let Command::Perf(args) =
        parse("isere perf iscsi://h/iqn.2020-01.x:t/0 --rw randrw --mix 70 --bs 8k").unwrap().command
    else {
        panic!("perf")
    };
    assert_eq!((args.rw, args.mix, args.bs), (perf::Pattern::RandRw, 70, 8192));
}
