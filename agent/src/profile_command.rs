//! `eo-agent profile`: samples for some seconds, then prints or writes what ran.

use std::collections::HashMap;
use std::fs;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cli::{ProfileFormat, ProfileOptions};
use crate::clock;
use crate::config::ConfigError;
use crate::procfs::Proc;
use crate::profile_output::{folded, otlp, pprof, Profile, Stack};
use crate::profiler::python::Effort;
use crate::profiler::{ProcessId, Profiler, Sampling, Window};
use crate::workload_key::declared;

const MAX_SECONDS: f64 = 3600.0;
/// Naming the last addresses of a busy node may take a while.
const LAST_WINDOW_WITHIN: Duration = Duration::from_secs(60);
/// A JVM on a busy machine may take seconds to list its code.
const LAST_NAMES_WITHIN: Duration = Duration::from_secs(10);

/// Runs the command; whether there was a sample. The error names the option to correct.
pub fn run(options: &ProfileOptions) -> Result<bool, ConfigError> {
    check(options)?;
    let proc = Proc::new(&options.procfs);
    if let Some(pid) = options.pid {
        proc.process_text(pid, "stat").ok_or_else(|| {
            ConfigError::new("--pid", &format!("no process {pid}"), "`ps` lists those that run")
        })?;
    }
    let sampling = Sampling {
        hz: options.hz,
        stack_bytes: options.stack_bytes & !7,
        jvm_attach: !options.no_jvm_attach,
        python: Effort::ForAPerson { only: options.pid },
        last_names_within: LAST_NAMES_WITHIN,
    };
    let started = clock::unix_nanos();
    let profiler = Profiler::start(&proc, &options.sysfs, sampling)
        .map_err(|reason| ConfigError::new("profile", &reason, "then try again"))?;
    let (sums, lost) = sample(profiler, options);
    let profile = profile(&proc, options, sums, started);
    tell(&profile, lost);
    write(&profile, options)?;
    Ok(profile.samples() > 0)
}

fn check(options: &ProfileOptions) -> Result<(), ConfigError> {
    let range = |setting, value: String, next: &str| {
        Err(ConfigError::new(setting, &format!("{value} is out of range"), next))
    };
    if !(options.seconds > 0.0 && options.seconds <= MAX_SECONDS) {
        return range("--seconds", options.seconds.to_string(), "use more than 0, up to 3600");
    }
    if !(1..=999).contains(&options.hz) {
        return range("--hz", options.hz.to_string(), "use 1 to 999");
    }
    if options.stack_bytes > crate::config::MAX_STACK_BYTES {
        return range("--stack-bytes", options.stack_bytes.to_string(), "use 0 to 61440");
    }
    if options.out.is_none()
        && options.format != ProfileFormat::Folded
        && std::io::stdout().is_terminal()
    {
        let problem = "a binary format does not go to a terminal";
        return Err(ConfigError::new(
            "--format",
            problem,
            "give --out FILE, or redirect the output",
        ));
    }
    Ok(())
}

type Sums = HashMap<(ProcessId, Vec<Arc<str>>), i64>;

/// Sums over all windows, and how many samples were lost.
fn sample(profiler: Profiler, options: &ProfileOptions) -> (Sums, u64) {
    let total = Duration::from_secs_f64(options.seconds);
    let started = Instant::now();
    let (mut sums, mut lost) = (Sums::new(), 0);
    let mut take = |window: Window| {
        lost += window.lost;
        for (key, count) in window.stacks {
            if options.pid.is_none_or(|pid| key.0.pid == pid) {
                *sums.entry(key).or_default() += count;
            }
        }
    };
    eprintln!("eo-agent: sampling for {} s at {} Hz ...", options.seconds, options.hz);
    loop {
        let rest = total.saturating_sub(started.elapsed());
        if rest.is_zero() {
            break;
        }
        if let Ok(window) = profiler.windows.recv_timeout(rest) {
            take(window);
            eprintln!("eo-agent: {:.0} of {} s", started.elapsed().as_secs_f64(), options.seconds);
        }
    }
    let (windows, left_out) = profiler.finish(LAST_WINDOW_WITHIN);
    windows.into_iter().for_each(take);
    (sums, lost + left_out)
}

fn profile(proc: &Proc, options: &ProfileOptions, sums: Sums, started_unix_nanos: u64) -> Profile {
    let mut names: HashMap<i32, (Arc<str>, Option<Arc<str>>)> = HashMap::new();
    let mut stacks: Vec<Stack> = sums
        .into_iter()
        .map(|((process, frames), samples)| {
            let (command, workload) =
                names.entry(process.pid).or_insert_with(|| about(proc, process.pid));
            Stack {
                pid: process.pid,
                command: command.clone(),
                workload: workload.clone(),
                frames,
                samples,
            }
        })
        .collect();
    stacks.sort_by(|a, b| b.samples.cmp(&a.samples).then_with(|| a.frames.cmp(&b.frames)));
    Profile {
        stacks,
        hz: options.hz.into(),
        started_unix_nanos,
        seconds: options.seconds,
        host: rustix::system::uname().nodename().to_string_lossy().into(),
    }
}

/// Name and declared workload of a process that may be gone by now.
fn about(proc: &Proc, pid: i32) -> (Arc<str>, Option<Arc<str>>) {
    let command = proc.process_text(pid, "comm");
    let command = command.as_deref().map_or("[ended]", str::trim_end).into();
    let mut buffer = Vec::new();
    let environment = proc.process_file(pid, "environ", &mut buffer).unwrap_or_default();
    let workload = declared(environment).workload.map(|name| format!("declared/{name}").into());
    (command, workload)
}

fn tell(profile: &Profile, lost: u64) {
    let Some(whole) = profile.whole_share() else {
        return eprintln!(
            "eo-agent: no samples: nothing of what was asked for ran on a CPU in that time"
        );
    };
    let lost = if lost > 0 { format!(", {lost} lost") } else { String::new() };
    eprintln!(
        "eo-agent: {} samples ({:.1} s of CPU), {:.1} % with a whole stack{lost}",
        profile.samples(),
        profile.samples() as f64 / profile.hz,
        whole * 100.0
    );
}

fn write(profile: &Profile, options: &ProfileOptions) -> Result<(), ConfigError> {
    let unwritable = |place: String, error: std::io::Error| {
        ConfigError::new("--out", &format!("{place}: {error}"), "give a file that can be written")
    };
    let bytes = match options.format {
        ProfileFormat::Folded => folded::encode(profile).into_bytes(),
        ProfileFormat::Pprof => {
            pprof::encode(profile).map_err(|error| unwritable("pprof".into(), error))?
        }
        ProfileFormat::Otlp => otlp::encode(profile),
    };
    match &options.out {
        Some(path) => {
            fs::write(path, bytes)
                .map_err(|error| unwritable(path.display().to_string(), error))?;
            eprintln!("eo-agent: written to {}", path.display());
        }
        // A reader that has seen enough (`| head`) is no error.
        None => drop(std::io::stdout().lock().write_all(&bytes)),
    }
    Ok(())
}
