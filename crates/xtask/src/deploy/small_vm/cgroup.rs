//! A control group of the kernel whose processes may have so much memory together; of either version.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where systemd, or whoever else, mounts them.
const MOUNT: &str = "/sys/fs/cgroup";

/// Removed when it is dropped; all of its processes have to have ended by then.
pub struct Cgroup {
    folder: PathBuf,
    /// The file of the group that this process came from.
    home: PathBuf,
    names: &'static Names,
}

/// What things are called.
struct Names {
    limit: &'static str,
    used: &'static str,
    peak: &'static str,
    /// In `memory.stat`.
    anonymous: &'static str,
    /// The file with the number of processes that were killed.
    events: &'static str,
}

const FIRST: Names = Names {
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    peak: "memory.max_usage_in_bytes",
    anonymous: "total_rss",
    events: "memory.oom_control",
};

const SECOND: Names = Names {
    limit: "memory.max",
    used: "memory.current",
    peak: "memory.peak",
    anonymous: "anon",
    events: "memory.events",
};

impl Cgroup {
    /// Makes one that may have so many bytes, and no swap.
    pub fn create(bytes: u64) -> Result<Self> {
        let of_ours = fs::read_to_string("/proc/self/cgroup").context("this is no Linux")?;
        let own = |controller: &str| {
            of_ours.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (controllers, path) = rest.split_once(':')?;
                let named = controllers.split(',').any(|name| name == controller);
                named.then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let (mount, own, names) = match own("memory") {
            Some(own) => (Path::new(MOUNT).join("memory"), own, &FIRST),
            None => (
                PathBuf::from(MOUNT),
                own("").context("the kernel has no control groups")?,
                &SECOND,
            ),
        };
        let folder = mount.join(format!("bharatmart-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let cgroup = Self {
            folder,
            home: mount.join(own).join("cgroup.procs"),
            names,
        };
        fs::write(cgroup.folder.join(names.limit), bytes.to_string())
            .context("cannot bound its memory")?;
        // There only where the kernel counts swap.
        let swap = cgroup.folder.join("memory.swap.max");
        if swap.exists() {
            fs::write(swap, "0")?;
        }
        Ok(cgroup)
    }

    /// What this process starts from now on is in it.
    pub fn enter(&self) -> Result<()> {
        fs::write(
            self.folder.join("cgroup.procs"),
            std::process::id().to_string(),
        )
        .context("cannot enter the control group")
    }

    /// This process goes back to where it was; what it started stays.
    pub fn leave(&self) -> Result<()> {
        fs::write(&self.home, std::process::id().to_string())
            .context("cannot leave the control group")
    }

    /// Bytes that its processes have, and the kernel's cache of their files.
    pub fn used(&self) -> Result<u64> {
        self.number(self.names.used)
    }

    /// The most that was [used](Self::used) so far.
    pub fn peak(&self) -> Result<u64> {
        self.number(self.names.peak)
    }

    /// Bytes that its processes have and that cannot be taken from them.
    pub fn anonymous(&self) -> Result<u64> {
        self.named("memory.stat", self.names.anonymous)
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub fn killed(&self) -> Result<u64> {
        self.named(self.names.events, "oom_kill")
    }

    fn number(&self, file: &str) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join(file))?;
        text.trim()
            .parse()
            .with_context(|| format!("{file} is no number"))
    }

    fn named(&self, file: &str, name: &str) -> Result<u64> {
        let text = fs::read_to_string(self.folder.join(file))?;
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .find(|(found, _)| *found == name)
            .with_context(|| format!("{file} has no {name}"))?
            .1
            .parse()
            .with_context(|| format!("{name} is no number"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.folder) {
            eprintln!("{} could not be removed: {error}", self.folder.display());
        }
    }
}
