//! The embedded dom0 from start to stop.

use crate::admin_server::{self, Socket};
use crate::config::HostConfig;
use crate::dom0::Dom0;
use crate::error::HostError;
use crate::keeper::Keeper;
use crate::layout::Layout;
use crate::life::{self, Lives, Removals, remove_tree};
use crate::lock::StateLock;
use crate::recovery;
use crate::server::Server;
use crate::{policy_eval, policy_server, setup};
use hypervisor::local::{Isolation, Local};
use names::QubeName;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// A host that runs. Dropping it stops it.
#[derive(Debug)]
pub struct Host {
    dom0: Arc<Dom0>,
    /// Taken by the first to stop the host.
    running: Mutex<Option<Running>>,
}

/// What runs besides qubes.
#[derive(Debug)]
struct Running {
    keeper: Option<Arc<Keeper>>,
    servers: Vec<Server>,
    /// Freed last of all.
    lock: StateLock,
}

impl Host {
    /// Starts a host: ends what an earlier one left, then serves the Admin API and the policy, and keeps the keeper of
    /// the queue running. No qube is started.
    ///
    /// # Errors
    /// See [`HostError`]; nothing is left running then.
    pub fn start(config: HostConfig) -> Result<Self, HostError> {
        if let Some(missing) = config.xen.as_ref().and_then(crate::xen::missing) {
            return Err(HostError::Xen(missing));
        }
        let layout = config.layout.clone();
        let state = layout.state().to_owned();
        crate::layout::make(&state).map_err(HostError::file("make", &state))?;
        let lock = StateLock::take(&layout.lock()).map_err(HostError::file("lock", layout.lock()))?;
        let local = Local::new(layout.domains());
        recovery::recover(&layout, &local, config.story.as_deref())?;
        layout.make_directories().map_err(HostError::file("make the directories of", &state))?;
        setup::fill(&config)?;
        let mut store = setup::store(&layout)?;
        recovery::remove_leftovers(&layout, |name| {
            name.parse().is_ok_and(|name| store.get(&name).is_some())
        })?;
        let xen = life::xen_domains(&config)
            .map_err(HostError::file("make the images of qubes in", layout.xen()))?;
        let is_unsaved = store.take_unsaved();
        let removals = Removals::start()
            .map_err(|cause| HostError::Program { name: "the thread that removes directories", cause })?;
        let dom0 = Arc::new(Dom0::new(config, store, Lives::new(), removals, local, xen));
        if is_unsaved {
            dom0.save().map_err(HostError::file("write", layout.qubes_file()))?;
        }
        let running = Running { keeper: None, servers: Vec::new(), lock };
        let host = Self { dom0: dom0.clone(), running: Mutex::new(Some(running)) };
        host.serve(&layout)?;
        Ok(host)
    }

    /// When this fails, dropping the host takes back what was done.
    fn serve(&self, layout: &Layout) -> Result<(), HostError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_mut() else { return Ok(()) };
        let dom0 = &self.dom0;
        for (socket, path) in
            [(Socket::Public, layout.qubesd_socket()), (Socket::Internal, layout.qubesd_internal_socket())]
        {
            let served = dom0.clone();
            let serve = move |stream| admin_server::serve(&served, socket, stream);
            let server = Server::start("admin-api", &path, serve).map_err(HostError::file("serve", &path))?;
            running.servers.push(server);
        }
        let path = layout.policy_socket();
        let served = dom0.clone();
        let server = Server::start("policy", &path, move |stream| policy_server::serve(&served, stream))
            .map_err(HostError::file("serve", &path))?;
        running.servers.push(server);
        for service in [policy::protocol::EVAL_SIMPLE, policy::protocol::EVAL_GUI] {
            let (path, served) = (layout.services().join(service), dom0.clone());
            let serve = move |stream| policy_eval::serve(&served, service, stream);
            let server =
                Server::start("policy-eval", &path, serve).map_err(HostError::file("serve", &path))?;
            running.servers.push(server);
        }
        if dom0.config.keeper {
            let keeper =
                Keeper::start(dom0).map_err(|cause| HostError::Program { name: "preload-dispvm", cause })?;
            running.keeper = Some(keeper);
        }
        Ok(())
    }

    /// Starts a qube; returns when it can be called. Nothing is done for one that runs.
    ///
    /// # Errors
    /// There is none of this name, or it does not come up.
    pub fn start_qube(&self, name: &str) -> Result<(), HostError> {
        let name: QubeName = name
            .parse()
            .map_err(|error: names::NameError| crate::store::Refusal::value(error.to_string()))?;
        Ok(self.dom0.start(&name)?)
    }

    /// Starts the qubes with `autostart`, all at the same time. Returns those that did not come up, each with the reason.
    #[must_use]
    pub fn start_autostarted(&self) -> Vec<(QubeName, HostError)> {
        let names: Vec<QubeName> =
            self.dom0.read(|store| store.autostarted().map(|qube| qube.name.clone()).collect());
        thread::scope(|scope| {
            let starts: Vec<_> = names
                .into_iter()
                .map(|name| {
                    scope.spawn(move || self.dom0.start(&name).err().map(|error| (name, error.into())))
                })
                .collect();
            starts.into_iter().filter_map(|start| start.join().ok().flatten()).collect()
        })
    }

    /// How a qube is kept apart; `None` when it does not run.
    #[must_use]
    pub fn isolation(&self, name: &QubeName) -> Option<Isolation> {
        self.dom0.look(|state| state.lives.isolation(name))
    }

    /// Ends everything, all qubes at the same time. When this returns, no process of the host is left, no socket and no
    /// directory of a disposable. Stopping twice does nothing.
    ///
    /// # Errors
    /// What is still there, by name.
    pub fn stop(&self) -> Result<(), HostError> {
        let left = self.end();
        if left.is_empty() { Ok(()) } else { Err(HostError::Left(left)) }
    }

    /// Removes the state directory of a host that was killed, with all that still runs of it. Left alone when a host runs
    /// there, or when it is none.
    pub fn remove_abandoned(state: &Path) {
        let layout = Layout::new(state);
        if !layout.lock().is_file() {
            return;
        }
        let Ok(lock) = StateLock::take(&layout.lock()) else { return };
        if let Err(error) = recovery::recover(&layout, &Local::new(layout.domains()), None) {
            return log::warn!("{}: {error}", state.display());
        }
        // The directory stays locked until it is gone.
        if let Err(error) = remove_tree(state) {
            log::warn!("{}: {error}", state.display());
        }
        drop(lock);
    }

    fn end(&self) -> Vec<String> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Running { keeper, mut servers, lock }) = running else { return Vec::new() };
        let dom0 = &self.dom0;
        dom0.with_state(|state| state.lives.stopping = true);
        let mut left = Vec::new();
        thread::scope(|scope| {
            if let Some(keeper) = &keeper {
                scope.spawn(|| keeper.stop());
            }
            let ends: Vec<_> = dom0
                .look(|state| state.lives.names())
                .into_iter()
                .map(|name| {
                    scope.spawn(move || match dom0.kill(&name) {
                        Ok(()) => None,
                        // It ended by itself meanwhile, or was ended by the keeper.
                        Err(_) if dom0.is_down(&name) => None,
                        Err(refusal) => Some(format!("{name} ({refusal})")),
                    })
                })
                .collect();
            for end in ends {
                left.extend(end.join().unwrap_or_else(|_| Some("a qube, for an unknown reason".into())));
            }
        });
        dom0.events.close();
        servers.iter_mut().for_each(Server::stop);
        dom0.removals.finish();
        if let Err(error) = recovery::recover(dom0.layout(), &dom0.local, dom0.config.story.as_deref()) {
            left.push(error.to_string());
        }
        let gone = recovery::remove_leftovers(dom0.layout(), |name| {
            name.parse()
                .is_ok_and(|name| dom0.read(|store| store.get(&name).is_some_and(|qube| qube.is_saved())))
        });
        left.extend(gone.err().map(|error| error.to_string()));
        drop(lock);
        left
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for left in self.end() {
            log::error!("still there: {left}");
        }
    }
}
