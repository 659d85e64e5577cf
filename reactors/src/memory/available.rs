//! How much memory there is: the machine's, and that of the control groups this process is in.

use crate::limits::MEMORY_HEADROOM;
use std::fs;
use std::path::Path;

/// What `/proc/meminfo` says, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct MemInfo {
    pub(super) available: Option<usize>,
    /// `None` if the kernel knows no huge pages.
    pub(super) huge_page_size: Option<usize>,
    pub(super) huge_pages_total: usize,
    huge_pages_free: usize,
    /// Free, but promised to somebody.
    huge_pages_reserved: usize,
}

impl MemInfo {
    pub(super) fn read() -> Self {
        Self::parse(&fs::read_to_string("/proc/meminfo").unwrap_or_default())
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let Some(number) = value.split_whitespace().next().and_then(|n| n.parse::<usize>().ok()) else { continue };
            match key {
                "MemAvailable" => info.available = number.checked_mul(1024),
                "Hugepagesize" => info.huge_page_size = number.checked_mul(1024).filter(|size| *size > 0),
                "HugePages_Total" => info.huge_pages_total = number,
                "HugePages_Free" => info.huge_pages_free = number,
                "HugePages_Rsvd" => info.huge_pages_reserved = number,
                _ => {}
            }
        }
        info
    }

    /// Bytes of huge pages nobody has a claim on.
    pub(super) fn huge_free(&self) -> usize {
        let pages = self.huge_pages_free.saturating_sub(self.huge_pages_reserved);
        pages.saturating_mul(self.huge_page_size.unwrap_or(0))
    }
}

/// The tightest bound on plain memory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Room {
    /// Bytes to spare, after [`MEMORY_HEADROOM`].
    pub(super) bytes: usize,
    /// Whose bound it is.
    pub(super) whose: String,
}

/// What may be touched without waking the OOM killer; `None` if nothing is known.
pub(super) fn room(info: &MemInfo) -> Option<Room> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = info.available.map(|bytes| (bytes, "this machine".to_owned()));
    let tightest = machine.into_iter().chain(cgroup_room(Path::new("/sys/fs/cgroup"), &groups)).min()?;
    Some(Room { bytes: tightest.0.saturating_sub(MEMORY_HEADROOM), whose: tightest.1 })
}

/// File names of one version of the control group file system.
struct Layout {
    limit: &'static str,
    usage: &'static str,
    /// Page cache that goes away on demand, in `memory.stat`.
    reclaimable: &'static str,
}

const V2: Layout = Layout { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };
const V1: Layout =
    Layout { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };

/// The tightest memory bound of the groups in `groups` (the text of `/proc/self/cgroup`) and their ancestors.
fn cgroup_room(root: &Path, groups: &str) -> Option<(usize, String)> {
    let bound = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        if hierarchy == "0" && controllers.is_empty() {
            tightest(root, path, &V2)
        } else if controllers.split(',').any(|c| c == "memory") {
            tightest(&root.join("memory"), path, &V1)
        } else {
            None
        }
    };
    groups.lines().filter_map(bound).min()
}

fn tightest(root: &Path, path: &str, layout: &Layout) -> Option<(usize, String)> {
    // Inside a container the path may be the host's and not exist here; then the root is the container's own group.
    let path = Path::new(path.trim_start_matches('/'));
    path.ancestors().filter_map(|group| spare(&root.join(group), layout)).min()
}

fn spare(group: &Path, layout: &Layout) -> Option<(usize, String)> {
    let number = |file: &str| fs::read_to_string(group.join(file)).ok()?.trim().parse::<usize>().ok();
    // "max" is no number: no bound.
    let limit = number(layout.limit)?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cached = stat.lines().find_map(|l| l.strip_prefix(layout.reclaimable)?.trim().parse::<usize>().ok());
    let used = number(layout.usage)?.saturating_sub(cached.unwrap_or(0));
    Some((limit.saturating_sub(used), format!("the control group {}", group.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_meminfo() {
        let text = "MemTotal: 10 kB\nMemAvailable:    2048 kB\nHugePages_Total:       9\nHugePages_Free:       5\n\
                    HugePages_Rsvd:        2\nHugepagesize:       2048 kB\nnonsense\nHugetlb: x kB\n";
        let info = MemInfo::parse(text);
        assert_eq!(info.available, Some(2 << 20));
        assert_eq!(info.huge_page_size, Some(2 << 20));
        assert_eq!(info.huge_free(), 3 * (2 << 20));
        assert_eq!(info.huge_pages_total, 9);
        assert_eq!(MemInfo::parse(""), MemInfo::default());
        assert_eq!(MemInfo::parse("Hugepagesize: 0 kB\nHugePages_Free: 7").huge_free(), 0);
    }

    fn write(group: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(group).unwrap();
        for (name, text) in files {
            fs::write(group.join(name), text).unwrap();
        }
    }

    #[test]
    fn the_tightest_group_of_version_2_counts() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("a"), &[("memory.max", "1000\n"), ("memory.current", "700\n")]);
        write(&dir.path().join("a"), &[("memory.stat", "anon 1\ninactive_file 100\n")]);
        write(&dir.path().join("a/b"), &[("memory.max", "max\n"), ("memory.current", "5\n")]);
        let (bytes, whose) = cgroup_room(dir.path(), "0::/a/b\n").unwrap();
        assert_eq!(bytes, 400);
        assert!(whose.ends_with("/a"), "{whose}");
        // A path of the host's that does not exist here: the root group counts.
        write(dir.path(), &[("memory.max", "50\n"), ("memory.current", "60\n")]);
        assert_eq!(cgroup_room(dir.path(), "0::/elsewhere\n").unwrap().0, 0);
    }

    #[test]
    fn version_1_and_none() {
        let dir = tempfile::tempdir().unwrap();
        let files = [("memory.limit_in_bytes", "900"), ("memory.usage_in_bytes", "100")];
        write(&dir.path().join("memory/x"), &files);
        let groups = "4:cpu,memory:/x\n3:cpuset:/\n0::/\n";
        assert_eq!(cgroup_room(dir.path(), groups).unwrap().0, 800);
        assert_eq!(cgroup_room(dir.path(), "3:cpuset:/\n0::/\nrubbish\n"), None);
        assert_eq!(cgroup_room(dir.path(), ""), None);
    }

    #[test]
    fn this_machine_has_room_but_not_everything() {
        let info = MemInfo::read();
        let room = room(&info).unwrap();
        assert!(room.bytes < info.available.unwrap());
    }
}
