//! Qubes as para-virtualised domains of the Xen that this machine runs on (docs/xen.md).
//!
//! `xl` makes and removes domains; pausing, waking and looking are calls of libxenctrl. A qube's root is an archive in
//! memory: a base that boots and loads Xen's modules, and after it, made here, our programs and the script that starts
//! the agent.

mod cpio;
mod domains;
mod guest;
mod images;
mod needs;
mod records;
mod toolstack;

pub(crate) use domains::{Domains, Wish, sweep};
pub(crate) use needs::missing;

use std::path::PathBuf;

/// What qubes on Xen are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XenSettings {
    /// A kernel for para-virtualised domains.
    pub kernel: PathBuf,
    /// An archive (cpio, not compressed) with busybox and an `/init` that loads Xen's modules and then executes
    /// `/sbin/qube-init`.
    pub initramfs: PathBuf,
    /// Memory of each qube, in MiB.
    pub memory: u32,
    /// More words for the kernel.
    pub words: String,
}

impl XenSettings {
    /// Reads `QUBES_XEN_KERNEL` (default `/boot/vmlinux`), `QUBES_XEN_INITRAMFS` (default `/boot/guest.cpio`),
    /// `QUBES_XEN_MEMORY` (MiB, default 192) and `QUBES_XEN_KERNEL_WORDS` (default none).
    #[must_use]
    pub fn from_env() -> Self {
        let path =
            |name: &str, default: &str| std::env::var_os(name).map_or_else(|| default.into(), PathBuf::from);
        let memory = std::env::var("QUBES_XEN_MEMORY").ok().and_then(|text| text.parse().ok());
        Self {
            kernel: path("QUBES_XEN_KERNEL", "/boot/vmlinux"),
            initramfs: path("QUBES_XEN_INITRAMFS", "/boot/guest.cpio"),
            memory: memory.unwrap_or(192),
            words: std::env::var("QUBES_XEN_KERNEL_WORDS").unwrap_or_default(),
        }
    }
}
