//! Nothing but a build script: it lets the linker find Xen's static libraries, with what each needs, under the names of
//! the shared ones. Crates that declare functions of libxenvchan or use `xenctrl-sys` depend on it.
#![forbid(unsafe_code)]
