//! The loop: every interval one look at everything, and one set of batches.
//!
//! Runs on one thread together with the publisher. A look takes a few
//! milliseconds and never waits for the bus: batches go into a bounded queue,
//! and what does not fit is counted and dropped.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Resource;
use tokio::sync::mpsc;

use crate::abilities::{self, Ability};
use crate::clock;
use crate::cloud;
use crate::config::gateway::Devices;
use crate::config::{Config, ConfigError};
use crate::containers::refresh::Names;
use crate::counters::Counters;
use crate::export::{Exporter, Item};
use crate::gateway::{self, Asking};
use crate::gpu_processes;
use crate::inventory::Inventory;
use crate::lifetime::Lifetime;
use crate::meters::{self, Meter};
use crate::node::{self, Node};
use crate::own_metrics::{Cause, OwnMetrics};
use crate::procfs::{node::boot_time, Proc};
use crate::profile_output::{Profile, Stack};
use crate::profile_rows::{self, Owner};
use crate::profiler::selection::{Selection, Whose};
use crate::profiler::{ProcessId, Profiler, Window};
use crate::publish::Publishing;
use crate::scan::{Moment, Scanner, Units};
use crate::wire::{self, Batch, Envelope, InventoryRow, ProfileRow, Row, SampleRow};

/// Batches that may wait for the publisher.
const QUEUE_BATCHES: usize = 256;
/// The node row is repeated after this time.
const NODE_ROW_EVERY: Duration = Duration::from_secs(300);
const MIN_LAST_INTERVAL: Duration = Duration::from_millis(500);
/// A stop takes no longer than these two together.
const PROFILE_WITHIN: Duration = Duration::from_millis(400);
const STOP_WITHIN: Duration = Duration::from_millis(1400);

/// Measures until SIGTERM, SIGINT or the end of the parent process.
pub async fn run(config: Config, devices: Devices) -> Result<(), ConfigError> {
    let mut lifetime = Lifetime::watch(config.parent_pid)?;
    let devices = gateway::build(&devices, config.interval_seconds)?;
    let (publishing, sender) = Publishing::start(&config, QUEUE_BATCHES).await?;
    let metrics = publishing.metrics.clone();
    let exporter = Exporter::start(&config.export, &config.host, metrics.clone())?;
    let mut asking = Asking::start(devices, &config, sender.clone());
    let mut agent = Agent::new(&config, sender, metrics, exporter)?;
    agent.take_names(Names::start(config.name_sources.clone()).await);
    agent.ask_cloud(config.cloud_metadata).await;
    agent.say_what_is_missing();

    let mut ticks = tokio::time::interval(Duration::from_secs_f64(config.interval_seconds));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => agent.tick(),
            () = lifetime.over() => break,
            () = asking.watch() => {}
        }
    }
    agent.finish();
    asking.stop().await;
    publishing.stop(STOP_WITHIN).await;
    Ok(())
}

struct Agent {
    tenant: Arc<str>,
    host: Arc<str>,
    scanner: Scanner,
    meters: Vec<Box<dyn Meter + Send>>,
    profiler: Option<Profiler>,
    counters: Option<Counters>,
    profile_hz: f64,
    selection: Selection,
    hotspots: HashMap<ProcessId, Vec<Arc<str>>>,
    /// Pids that a driver tells are those of procfs.
    pids_of_the_host: bool,
    inventory: Inventory,
    node: Node,
    abilities: Vec<Ability>,
    last: Option<Instant>,
    node_row_at: Option<Instant>,
    batches: mpsc::Sender<Batch>,
    queue_full: u64,
    metrics: Arc<OwnMetrics>,
    exporter: Option<Exporter>,
}

impl Agent {
    fn new(
        config: &Config,
        batches: mpsc::Sender<Batch>,
        metrics: Arc<OwnMetrics>,
        exporter: Option<Exporter>,
    ) -> Result<Agent, ConfigError> {
        allow_more_open_files();
        let proc = Proc::new(&config.procfs);
        let unusable = |problem: String| {
            ConfigError::new("procfs", &problem, "give the mount point of procfs")
        };
        let stat = proc
            .node_file("stat")
            .map_err(|error| unusable(format!("{}: {error}", proc.path("stat").display())))?;
        let boot_time =
            boot_time(&stat).ok_or_else(|| unusable("stat has no btime line".into()))?;
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let units = Units {
            ticks_per_second,
            page_bytes: rustix::param::page_size() as i64,
            boot_time_ms: boot_time * 1000,
        };
        let meters = meters::detect(&proc, &config.sysfs, ticks_per_second);
        let profiler = Profiler::start(&proc, &config.sysfs, config.sampling());
        let (profiler, profiling) = match profiler {
            Ok(profiler) => (Some(profiler), Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        let node = node::discover(&proc, &config.sysfs);
        let abilities = abilities::look(config, &node, &meters, profiling);
        Ok(Agent {
            tenant: config.tenant.as_str().into(),
            host: config.host.as_str().into(),
            node,
            counters: Counters::start(config.counters, &proc, &config.sysfs, &config.cgroupfs),
            pids_of_the_host: proc.has_pids_of_the_host() == Some(true),
            inventory: Inventory::new(proc.clone()),
            scanner: Scanner::new(proc, &config.cgroupfs, units),
            meters,
            profiler,
            profile_hz: config.profile_hz.into(),
            selection: config.profile_selection.clone(),
            hotspots: HashMap::new(),
            abilities,
            last: None,
            node_row_at: None,
            batches,
            queue_full: 0,
            metrics,
            exporter,
        })
    }

    fn take_names(&mut self, names: Names) {
        let sources = names.at_the_start.iter();
        self.abilities
            .extend(sources.map(|(name, answer)| abilities::container_source(name, answer)));
        self.scanner.set_names(names);
    }

    /// The instance type, where only the metadata service has it and may be asked.
    async fn ask_cloud(&mut self, allowed: bool) {
        let Some(cloud) = self.node.cloud.filter(|_| allowed) else { return };
        let asked = tokio::task::spawn_blocking(move || cloud.instance_type(cloud::METADATA)).await;
        let Ok(asked) = asked else { return };
        self.abilities.retain(|one| one.name != abilities::INSTANCE_TYPE);
        self.abilities.push(abilities::told_by_cloud(&asked));
        self.node.instance_type = asked.ok();
    }

    /// The same list as in the node's row and in `eo-agent check`.
    fn say_what_is_missing(&self) {
        for reason in abilities::missing(&self.abilities) {
            tracing::warn!("not available here: {reason}");
        }
    }

    /// One look at everything.
    fn tick(&mut self) {
        let now = Instant::now();
        let interval = self.last.replace(now).map(|last| (now - last).as_secs_f64());
        let mut samples = match self.scanner.scan(moment()) {
            Ok(rows) => rows,
            Err(error) => {
                tracing::warn!(%error, "procfs can't be listed; no samples in this interval");
                Vec::new()
            }
        };
        let meter_rows: Vec<_> =
            self.meters.iter_mut().flat_map(|meter| meter.read(interval)).collect();
        self.metrics.measured(&meter_rows);
        if let Some(exporter) = &self.exporter {
            exporter
                .send(Item::Meters { rows: meter_rows.clone(), unix_nanos: clock::unix_nanos() });
        }
        let power = meters::node_power(&meter_rows);
        let gpu_power = meters::gpu_power(&meter_rows);
        let temperature = meters::cpu_temperature(&meter_rows);
        let profiles = self.profiles();
        for row in &mut samples {
            row.node_power_watts = power.map(|(watts, _)| watts);
            row.tier = power.map(|(_, tier)| tier.as_str().into());
            row.gpu_power_watts = gpu_power;
            row.temp_c = temperature;
            row.hotspot_functions = self.hotspots_of(row);
        }
        let gpu_processes = gpu_processes::named(
            self.meters.iter_mut().flat_map(|meter| meter.processes(interval)).collect(),
            &self.scanner,
            self.pids_of_the_host,
        );
        let counters = match &mut self.counters {
            Some(counters) => {
                let seconds = moment().boot_seconds;
                counters.look(self.scanner.processes(), seconds, interval)
            }
            None => Vec::new(),
        };
        let envelope = self.envelope();
        let inventory = self.inventory(now);
        self.send(&envelope, inventory);
        self.send(&envelope, samples);
        self.send(&envelope, meter_rows);
        self.send(&envelope, profiles);
        self.send(&envelope, counters);
        self.send(&envelope, gpu_processes);
        self.metrics.scanned(now.elapsed().as_secs_f64());
    }

    /// The last look, and the profile that was under way.
    fn finish(mut self) {
        // Two looks in quick succession would make nonsense of the shares.
        if self.last.is_some_and(|last| last.elapsed() >= MIN_LAST_INTERVAL) {
            self.tick();
        }
        let Some(profiler) = self.profiler.take() else { return };
        let (windows, left_out) = profiler.finish(PROFILE_WITHIN);
        self.metrics.stack_samples_lost.inc_by(left_out);
        for window in windows {
            let rows = self.take_window(window);
            let envelope = self.envelope();
            self.send(&envelope, rows);
        }
    }

    /// Rows of the windows that ended since the last look.
    fn profiles(&mut self) -> Vec<ProfileRow> {
        let mut rows = Vec::new();
        while let Some(window) = self.profiler.as_ref().and_then(|p| p.windows.try_recv().ok()) {
            rows.extend(self.take_window(window));
        }
        rows
    }

    /// Counts a window, hands it to the exporter, and makes its rows.
    fn take_window(&mut self, window: Window) -> Vec<ProfileRow> {
        if window.lost > 0 {
            tracing::debug!(lost = window.lost, "stack samples lost");
        }
        let window = self.selected(window);
        self.hotspots = window.hotspots();
        self.metrics.stack_samples.inc_by(window.samples());
        self.metrics.stack_samples_lost.inc_by(window.lost);
        if let Some(exporter) = &self.exporter {
            exporter.send(Item::Profile(Box::new(self.profile(&window))));
        }
        let made = profile_rows::rows(window, self.profile_hz, |id: ProcessId| {
            let process = self.scanner.find(id.pid, id.start_ticks)?;
            Some(Owner {
                workload: &process.workload,
                container_id: process.container_id.as_ref(),
                pid: process.pid,
                started_ms: process.started_ms,
            })
        });
        self.metrics.unattributed(&made.unattributed);
        made.rows
    }

    /// The window with the stacks that may leave the node.
    fn selected(&self, window: Window) -> Window {
        let owner = |id: ProcessId| {
            let process = self.scanner.find(id.pid, id.start_ticks)?;
            let placement = process.placement.as_deref();
            Some(Whose {
                workload: &process.workload.key,
                namespace: placement.and_then(|placement| placement.namespace.as_deref()),
                labels: placement.map_or(&[], |placement| &placement.labels),
            })
        };
        self.selection.apply(window, owner)
    }

    /// The window in the form that other tools' formats are made from.
    fn profile(&self, window: &Window) -> Profile {
        let stack = |((id, frames), samples): (&(ProcessId, Vec<Arc<str>>), &i64)| {
            let process = self.scanner.find(id.pid, id.start_ticks);
            Stack {
                pid: id.pid,
                command: process
                    .map_or_else(|| "[ended]".into(), |process| process.command.clone()),
                workload: process.map(|process| process.workload.key.clone()),
                frames: frames.clone(),
                samples: *samples,
            }
        };
        let nanos = (window.seconds * 1e9) as u64;
        Profile {
            stacks: window.stacks.iter().map(stack).collect(),
            hz: self.profile_hz,
            started_unix_nanos: clock::unix_nanos().saturating_sub(nanos),
            seconds: window.seconds,
            host: self.host.clone(),
        }
    }

    fn hotspots_of(&self, row: &SampleRow) -> Option<Vec<Arc<str>>> {
        let start_ticks = self.scanner.find(row.pid, 0)?.start_ticks;
        self.hotspots.get(&ProcessId { pid: row.pid, start_ticks }).cloned()
    }

    fn envelope(&self) -> Envelope {
        Envelope::now(self.tenant.clone(), self.host.clone())
    }

    fn inventory(&mut self, now: Instant) -> Vec<InventoryRow> {
        let mut rows = self.inventory.rows(&self.scanner, moment().boot_seconds);
        if self.node_row_at.is_none_or(|at| now - at >= NODE_ROW_EVERY) {
            self.node_row_at = Some(now);
            rows.push(self.node.row(&self.abilities));
        }
        rows
    }

    fn send<R: Row>(&mut self, envelope: &Envelope, rows: Vec<R>) {
        self.metrics.sent_rows(R::KIND.as_str(), rows.len());
        let batches = match wire::encode(envelope, rows) {
            Ok(batches) => batches,
            Err(error) => {
                return tracing::warn!(%error, kind = R::KIND.as_str(), "a batch could not be encoded")
            }
        };
        for batch in batches {
            if self.batches.try_send(batch).is_err() {
                self.queue_full += 1;
                self.metrics.dropped(Cause::queue_full, 1);
                if self.queue_full.is_power_of_two() {
                    tracing::warn!(
                        dropped = self.queue_full,
                        "the publisher is too slow: batches dropped"
                    );
                }
            }
        }
        let waiting = self.batches.max_capacity() - self.batches.capacity();
        self.metrics.queue_batches.set(waiting as i64);
    }
}

/// The usual soft limit of 1024 files is for programs that use `select`.
fn allow_more_open_files() {
    const WANTED: u64 = 16_384;
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum.map_or(Some(WANTED), |most| Some(most.min(WANTED)));
    // Without it fewer files stay open, and a look costs more.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Seconds since boot, the clock of process start times.
fn moment() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Moment { boot_seconds: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9 }
}
