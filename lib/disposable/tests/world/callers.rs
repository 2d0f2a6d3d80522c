//! Calls: each claims, is handed over, ends, or dies anywhere.

use super::World;
use disposable::entry::Entry;
use disposable::queue::{ClaimOrReserved, Claimed, Outcome, Place, Reserved};
use disposable::wake::{verify, verify_running};
use hypervisor::DomainInfo;
use names::{DomId, Uuid};
use os::process::ProcessId;

/// A process that serves one call.
#[derive(Debug)]
pub(crate) struct Caller<'q> {
    id: Option<ProcessId>,
    has: Has<'q>,
    uuid: Option<Uuid>,
}

#[derive(Debug)]
enum Has<'q> {
    Reserved(Reserved<'q>),
    Claimed(Claimed<'q>),
    Stranger,
}

impl Caller<'_> {
    /// Somebody whose qube is no business of the queue.
    pub(crate) fn owning(uuid: Uuid) -> Self {
        Self { id: None, has: Has::Stranger, uuid: Some(uuid) }
    }

    /// It dies by SIGKILL: no destructor runs. Returns the domain that it had.
    pub(crate) fn vanish(self) -> Option<Uuid> {
        match self.has {
            Has::Reserved(reserved) => std::mem::forget(reserved),
            Has::Claimed(claimed) => std::mem::forget(claimed),
            Has::Stranger => {}
        }
        self.uuid
    }
}

impl<'q> World<'q> {
    pub(crate) fn owns(&self, uuid: Uuid) -> bool {
        self.callers.iter().any(|caller| caller.uuid == Some(uuid))
    }

    /// Whether callers trust the queue: the keeper lives and has compared.
    pub(crate) fn trusted(&self) -> bool {
        self.living.is_some()
    }

    pub(crate) fn info(&self, domid: DomId) -> Option<DomainInfo> {
        let domain = self.domains.values().find(|domain| domain.domid == Some(domid))?;
        Some(DomainInfo {
            domid,
            uuid: domain.uuid,
            name: domain.name.clone(),
            paused: domain.pauses > 0,
            dying: false,
        })
    }

    /// A call comes: warm, else one that starts, else cold.
    pub(crate) fn request(&mut self) {
        self.next += 1;
        let id =
            ProcessId { pid: i32::try_from(2_000_000 + self.next).unwrap(), start: u64::from(self.next) };
        self.alive.insert(id);
        if !self.trusted() {
            return self.cold(id, false);
        }
        if self.below(10) == 0 && self.dies_in_its_claim(id) {
            return;
        }
        loop {
            match self.queue.claim_or_reserve(id).unwrap() {
                ClaimOrReserved::Reserved(reserved) => {
                    let label = reserved.label().to_owned();
                    self.tell(format!("call {} reserves {label}", id.pid));
                    self.tally.reserved += 1;
                    self.callers.push(Caller { id: Some(id), has: Has::Reserved(reserved), uuid: None });
                    return;
                }
                ClaimOrReserved::Claim(claim) => {
                    self.tally.discarded += u32::try_from(claim.discarded.len()).unwrap();
                    let Some(claimed) = claim.claimed else {
                        if claim.discarded.is_empty() {
                            return self.cold(id, true);
                        }
                        continue;
                    };
                    if self.wake(id, claimed) {
                        return;
                    }
                }
            }
        }
    }

    /// It has noted itself in the file and not yet moved it.
    fn dies_in_its_claim(&mut self, id: ProcessId) -> bool {
        let Some(first) = self.queue.list(Place::Ready).unwrap().into_iter().next() else { return false };
        let Some(entry) = first.entry.filter(|entry| entry.claimer.is_none()) else { return false };
        self.tell(format!("call {} dies in its claim of {}", id.pid, entry.name));
        let file = self.root.join(entry.template.as_str()).join("ready").join(&first.file);
        // On a full disk the line may be cut anywhere.
        let line = Entry::claimer_line(id);
        let text = std::fs::read_to_string(&file).unwrap() + &line[..1 + self.below(line.len())];
        std::fs::write(file, text).unwrap();
        self.alive.remove(&id);
        self.touched.insert(entry.uuid);
        true
    }

    fn wake(&mut self, id: ProcessId, claimed: Claimed<'q>) -> bool {
        let entry = claimed.entry().clone();
        // P1: whatever becomes of it, nobody has had it before, and nobody gets it again.
        let first = self.touched.insert(entry.uuid);
        if self.below(20) == 0 {
            self.tell(format!("call {} dies between claim and wake-up of {}", id.pid, entry.name));
            self.alive.remove(&id);
            std::mem::forget(claimed);
            return true;
        }
        if let Err(reason) = verify(&entry, self.info(entry.domid).as_ref()) {
            self.tell(format!("call {} passes {} over: {reason}", id.pid, entry.name));
            return false;
        }
        let domain = self.domains.values_mut().find(|domain| domain.domid == Some(entry.domid)).unwrap();
        assert_eq!(domain.uuid, entry.uuid, "P3: a stranger is never woken");
        domain.pauses -= 1;
        if domain.pauses > 0 {
            return false;
        }
        self.tell(format!("call {} gets {}", id.pid, entry.name));
        self.tally.warm += 1;
        self.handed_out(entry.uuid, first);
        self.callers.push(Caller { id: Some(id), has: Has::Claimed(claimed), uuid: Some(entry.uuid) });
        true
    }

    fn handed_out(&mut self, uuid: Uuid, first: bool) {
        assert!(first, "P1: handed out twice");
        let version = self.domains[&uuid].version;
        assert!(
            version >= self.heard,
            "P3: of version {version}, and the keeper has heard of {}",
            self.heard
        );
    }

    /// With a living keeper the fresh disposable is noted, so that the keeper ends it should the call die.
    fn cold(&mut self, id: ProcessId, noted: bool) {
        self.tally.cold += 1;
        let wanted = noted.then(|| self.queue.want(id, self.now).unwrap());
        let uuid = self.create().uuid;
        self.touched.insert(uuid);
        if noted && self.below(8) == 0 {
            self.tell(format!("call {} dies before it has noted what it created", id.pid));
            self.alive.remove(&id);
            std::mem::forget(wanted);
            return;
        }
        self.start_domain(uuid);
        let domain = self.domains[&uuid].clone();
        self.tell(format!("call {} starts {} cold", id.pid, domain.name));
        let caller = if let Some(wanted) = wanted {
            let mut entry = self.entry_of(&domain);
            entry.claimer = Some(id);
            let claimed = wanted.became(entry).unwrap();
            Caller { id: Some(id), has: Has::Claimed(claimed), uuid: Some(uuid) }
        } else {
            Caller::owning(uuid)
        };
        self.callers.push(caller);
    }

    /// One of the calls gets on, ends, or dies.
    pub(crate) fn advance_caller(&mut self) {
        if self.callers.is_empty() {
            return;
        }
        let index = self.below(self.callers.len());
        let caller = self.callers.swap_remove(index);
        let dies = self.below(6) == 0 && caller.id.is_some();
        if let (true, Some(id)) = (dies, caller.id) {
            self.tell(format!("call {} dies", id.pid));
            self.alive.remove(&id);
            caller.vanish();
            return;
        }
        match caller.has {
            Has::Stranger => {
                // It ends what is its own.
                caller.uuid.map(|uuid| self.domains.remove(&uuid));
            }
            Has::Reserved(reserved) => self.look_at_reserved(caller.id.unwrap(), reserved),
            Has::Claimed(mut claimed) => {
                if self.below(2) == 0 {
                    self.tell(format!("{} is used", claimed.name()));
                    claimed.used();
                    self.callers.push(Caller { has: Has::Claimed(claimed), ..caller });
                } else {
                    self.tell(format!("{} is done", claimed.name()));
                    claimed.done();
                    caller.id.map(|id| self.alive.remove(&id));
                }
            }
        }
    }

    fn look_at_reserved(&mut self, id: ProcessId, mut reserved: Reserved<'q>) {
        match reserved.try_wait().unwrap() {
            None if self.below(4) == 0 => {
                self.tell(format!("call {} has waited long enough", id.pid));
                drop(reserved);
                self.cold(id, true);
            }
            None => self.callers.push(Caller { id: Some(id), has: Has::Reserved(reserved), uuid: None }),
            Some(Outcome::Failed(reason)) => {
                self.tell(format!("call {} waited in vain: {reason}", id.pid));
                self.cold(id, true);
            }
            Some(Outcome::Awake(claimed)) => {
                let entry = claimed.entry().clone();
                let first = self.touched.insert(entry.uuid);
                if let Err(reason) = verify_running(&entry, self.info(entry.domid).as_ref()) {
                    self.tell(format!("call {} passes {} over: {reason}", id.pid, entry.name));
                    return;
                }
                self.tell(format!("call {} was handed {}", id.pid, entry.name));
                self.handed_out(entry.uuid, first);
                self.callers.push(Caller {
                    id: Some(id),
                    has: Has::Claimed(claimed),
                    uuid: Some(entry.uuid),
                });
            }
        }
    }
}
